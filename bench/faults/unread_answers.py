"""Clients that ask for streams and never read them; another one asks small questions."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from bench.faults.target import CHAT, MODEST, Target, first_token_s

_RECEIVE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class UnreadAnswers:
    """idle_s: until the engine had nothing to do. first_token_s: of a small question after that.

    closed_s: until the server had closed all connections; None if it did not within the patience.
    handles: more open files of the server at the end than at the start.
    """

    idle_s: float
    first_token_s: float
    closed_s: float | None
    handles: int


@contextmanager
def unread(target: Target, clients: int, max_tokens: int) -> Iterator[list[socket.socket]]:
    """Connections, each with the request for a stream and a small buffer, none of them read.

    A token takes 2 kB with its log-probabilities.
    """
    asked = {"model": target.model, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    length = {"max_tokens": max_tokens, "ignore_eos": True}
    body = json.dumps({**asked, **length, "logprobs": True, "top_logprobs": 20}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with ExitStack() as stack:
        sockets = []
        for _ in range(clients):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            client.connect(("127.0.0.1", target.port))
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            sockets.append(client)
        yield sockets


async def leave_answers_unread(
    target: Target, clients: int, max_tokens: int, patience_s: float
) -> UnreadAnswers:
    """Let several clients ask for answers of `max_tokens` tokens and never read."""
    process = target.process()
    async with target.client(MODEST) as modest:
        await first_token_s(target, modest)
        handles = process.num_fds()
        started = time.perf_counter()
        with unread(target, clients, max_tokens) as sockets:
            await _idle(target)
            idle = time.perf_counter() - started
            try:
                async with asyncio.timeout(patience_s):
                    first = await first_token_s(target, modest)
            except TimeoutError:
                first = patience_s
            closed = await _closed(sockets, started, patience_s)
    await asyncio.sleep(1)
    return UnreadAnswers(idle, first, closed, process.num_fds() - handles)


async def _idle(target: Target) -> None:
    """Wait until the engine has run, and runs nothing any more."""
    ran, quiet = False, 0
    while quiet < 5:
        running = await asyncio.to_thread(target.metric, "slipway_running_requests")
        ran = ran or running > 0
        quiet = quiet + 1 if ran and not running else 0
        await asyncio.sleep(0.2)


async def _closed(sockets: list[socket.socket], started: float, patience_s: float) -> float | None:
    """Seconds until the server has reset or closed every connection."""
    while time.perf_counter() - started < patience_s:
        states = [each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] for each in sockets]
        if all(state != _ESTABLISHED for state in states):
            return time.perf_counter() - started
        await asyncio.sleep(0.5)
    return None


_ESTABLISHED = 1  # TCP_ESTABLISHED in Linux's include/net/tcp_states.h
