"""Clients that stream, cheap enough to share a core: `python -m bench.streaming_clients`.

Started by `bench.frontend`, for a core of their own. While time runs they only keep bytes with the time they
came, and read them afterwards. One JSON object per line:

in:  {"way": "http" or "grpc", "port": p, "model": m, "prompt": p, "max_tokens": n, "clients": c,
      "each": answers of a client, one after another, "apart_s": seconds between the first of each client}
out: {"seconds": s, "tokens": n, "events": n, "ttft_s": [of each answer], "gaps_s": [between chunks of text]}

The connections are there before the time runs. The seconds end with the last answer. Over gRPC the clients
ask the stand-in of `bench.instant_triton` without a gateway between.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from bench.instant_triton import HOST, SERVICE, TOKEN, request

HTTP_END = b"0\r\n\r\n"


class AnswerFailed(Exception):
    """A server answers something else; the message says what."""


@dataclass(slots=True)
class Received:
    """What came for one request, with its time, in seconds from the request."""

    started: float
    reads: list[tuple[float, bytes]] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        """Keep what came now."""
        self.reads.append((time.perf_counter() - self.started, data))


class HttpClient(asyncio.Protocol):
    """One connection to a gateway, kept open."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._received: Received
        self._whole: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio.Protocol."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol."""
        self._received.add(data)
        if data.endswith(HTTP_END) and not self._whole.done():
            self._whole.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio.Protocol."""
        if not self._whole.done():
            self._whole.set_result(None)

    async def ask(self, content: bytes) -> Received:
        """One request and its whole response."""
        self._whole = asyncio.get_running_loop().create_future()
        self._received = Received(time.perf_counter())
        self._transport.write(content)
        await self._whole
        return self._received


def http_request(asked: dict[str, Any]) -> bytes:
    """A streamed chat request."""
    body = {
        "model": asked["model"],
        "messages": [{"role": "user", "content": asked["prompt"]}],
        "max_tokens": asked["max_tokens"],
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    content = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def over_http(asked: dict[str, Any]) -> dict[str, Any]:
    """Ask a gateway, and count tokens as its `usage` does."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(asked["clients"]):
        _, client = await loop.create_connection(HttpClient, HOST, asked["port"])
        clients.append(client)
    content = http_request(asked)
    seconds, answers = await all_of([client.ask for client in clients], content, asked)
    return figures(seconds, [http_events(answer) for answer in answers])


@dataclass(slots=True)
class Events:
    """What one answer was. content_s: when each event with text came, from the request."""

    tokens: int
    events: int
    content_s: list[float]


def http_events(received: Received) -> Events:
    """The events of a response, each at the time of the read that completed it."""
    whole = b"".join(data for _, data in received.reads)
    if not whole.startswith(b"HTTP/1.1 200 ") or not whole.endswith(HTTP_END):
        raise AnswerFailed(whole[-300:].decode(errors="replace"))
    ends, came = [], []
    end = 0
    for at, data in received.reads:
        end += len(data)
        ends.append(end)
        came.append(at)
    content_s, tokens, events, at, read = [], 0, 0, 0, 0
    while (at := whole.find(b"data: ", at)) >= 0:
        stop = whole.index(b"\n\n", at)
        event = whole[at + 6 : stop]
        while ends[read] < stop:
            read += 1
        events += 1
        if event != b"[DONE]":
            chunk = json.loads(event)
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                content_s.append(came[read])
            if chunk.get("usage"):
                tokens = chunk["usage"]["completion_tokens"]
        at = stop
    return Events(tokens, events, content_s)


async def over_grpc(asked: dict[str, Any]) -> dict[str, Any]:
    """Ask the stand-in itself, a channel for each client."""
    channels = [
        grpc.aio.insecure_channel(f"{HOST}:{asked['port']}", [("grpc.use_local_subchannel_pool", 1)])
        for _ in range(asked["clients"])
    ]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    asks = [client_of(channel) for channel in channels]
    seconds, answers = await all_of(asks, request(asked["prompt"], asked["max_tokens"]), asked)
    for channel in channels:
        await channel.close()
    return figures(seconds, [grpc_events(answer) for answer in answers])


def grpc_events(received: Received) -> Events:
    """The messages of an answer. All tokens are alike, so counting them needs no protobuf."""
    token = TOKEN.encode()
    tokens = sum(data.count(token) for _, data in received.reads)
    return Events(tokens, len(received.reads), [came for came, _ in received.reads])


def client_of(channel: grpc.aio.Channel) -> Callable[[bytes], Awaitable[Received]]:
    """The stand-in's client on one channel."""
    method = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")

    async def ask(content: bytes) -> Received:
        received = Received(time.perf_counter())
        async for data in method([content]):
            received.add(data)
        return received

    return ask


async def all_of(
    asks: list[Callable[[bytes], Awaitable[Received]]], content: bytes, asked: dict[str, Any]
) -> tuple[float, list[Received]]:
    """Every client asks `each` times; the seconds until all are done, and what came."""

    async def one(number: int, ask: Callable[[bytes], Awaitable[Received]]) -> list[Received]:
        await asyncio.sleep(number * asked["apart_s"])
        return [await ask(content) for _ in range(asked["each"])]

    started = time.perf_counter()
    answers = await asyncio.gather(*(one(number, ask) for number, ask in enumerate(asks)))
    seconds = time.perf_counter() - started
    return seconds, [each for of_one in answers for each in of_one]


def figures(seconds: float, answers: list[Events]) -> dict[str, Any]:
    """The line to say."""
    gaps = [
        later - earlier
        for answer in answers
        for earlier, later in zip(answer.content_s, answer.content_s[1:], strict=False)
    ]
    return {
        "seconds": seconds,
        "tokens": sum(answer.tokens for answer in answers),
        "events": sum(answer.events for answer in answers),
        "ttft_s": [answer.content_s[0] for answer in answers],
        "gaps_s": gaps,
    }


def main() -> None:
    """Answer until the input ends."""
    ways = {"http": over_http, "grpc": over_grpc}
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                said = runner.run(ways[asked["way"]](asked))
            except (AnswerFailed, OSError, grpc.aio.AioRpcError) as error:
                said = {"failed": str(error)}
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
