"""A connection whose client does not read ends; one whose client reads slowly does not. Over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from slipway.gateway.http.watched_transport import WatchedTransport

STALL_S = 0.2
SIZE = 20_000_000  # more than the buffers of the kernel


class Sender(asyncio.Protocol):
    """Sends SIZE bytes to each client, and closes."""

    def __init__(self, lost: asyncio.Event) -> None:
        self.lost = lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        loop = asyncio.get_running_loop()
        watched = WatchedTransport(cast(asyncio.Transport, transport), loop, STALL_S)
        watched.write(b"x" * SIZE)
        watched.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[socket.socket, asyncio.Event]]:
    """A client's socket, and the event that the server sees its end."""
    loop, lost = asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(lambda: Sender(lost), "127.0.0.1", 0)
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        yield client, lost
    server.close()


async def read_all(client: socket.socket, pause_s: float = 0) -> int:
    """Read to the end, with a pause after each piece; the number of bytes."""
    got = 0
    while data := await asyncio.get_running_loop().sock_recv(client, SIZE // 20):
        got += len(data)
        await asyncio.sleep(pause_s)
    return got


async def test_a_client_that_reads_nothing_loses_its_connection() -> None:
    async with connection() as (client, lost):
        async with asyncio.timeout(50 * STALL_S):
            await lost.wait()
        with pytest.raises(ConnectionResetError):  # nor does the kernel keep what is unread
            await read_all(client)


async def test_a_slow_client_that_reads_gets_everything() -> None:
    async with connection() as (client, lost):
        assert await read_all(client, STALL_S / 10) == SIZE
        async with asyncio.timeout(5):
            await lost.wait()
