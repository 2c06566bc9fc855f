"""The server under test, as clients from several addresses see it."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

PLAIN = "/v1/completions"
CHAT = "/v1/chat/completions"
# Linux answers at every address of 127/8, and a server takes each for another client.
GREEDY, MODEST = "127.0.0.2", "127.0.0.3"
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway that runs on this machine. metrics_url: of Triton, which counts what its engines run."""

    url: str
    model: str
    metrics_url: str | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    @asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[httpx.AsyncClient]:
        """A client that comes from this address, with as many connections as it needs."""
        limits = httpx.Limits(max_connections=None)
        transport = httpx.AsyncHTTPTransport(local_address=address, limits=limits)
        async with httpx.AsyncClient(
            base_url=self.url, transport=transport, timeout=_TIMEOUT_S, trust_env=False
        ) as client:
            yield client

    def body(self, max_tokens: int, **fields: Any) -> Mapping[str, Any]:
        """A completion of exactly `max_tokens` tokens."""
        asked = {"model": self.model, "prompt": "1, 2, 3, 4,", "temperature": 0, "ignore_eos": True}
        return {**asked, "max_tokens": max_tokens, **fields}

    def metric(self, name: str) -> float:
        """The sum over all models, of the gateway's figures and Triton's."""
        total = 0.0
        for url in {f"{self.url}/metrics", self.metrics_url or f"{self.url}/metrics"}:
            text = httpx.get(url, timeout=10, trust_env=False).text
            lines = [line for line in text.splitlines() if line.startswith(f"{name}{{")]
            total += sum(float(line.rpartition(" ")[2]) for line in lines)
        return total

    def process(self) -> psutil.Process:
        """The process that listens. Raises psutil.NoSuchProcess when there is none."""
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (self.port,)
            if listens and connection.pid is not None:
                return psutil.Process(connection.pid)
        raise psutil.NoSuchProcess(0, msg=f"No process of this machine listens at {self.url}")


async def first_token_s(target: Target, client: httpx.AsyncClient) -> float:
    """Seconds from a small question to the first token of its answer."""
    started = time.perf_counter()
    async with client.stream("POST", PLAIN, json={**target.body(4), "stream": True}) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                return time.perf_counter() - started
    raise httpx.RemoteProtocolError("The stream has no token")


async def first_tokens_until(
    ended: "asyncio.Future[Any]", target: Target, client: httpx.AsyncClient
) -> list[float]:
    """Ask small questions, one after the other, until `ended` is done; their seconds to the first token."""
    seconds = [await first_token_s(target, client)]
    while not ended.done():
        seconds.append(await first_token_s(target, client))
        await asyncio.sleep(0.1)
    return seconds
