"""The gateway as a process: it takes a port, starts the engines, ends cleanly; used by `gateway.__main__`."""

import asyncio
import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvicorn

from slipway.contract.errors import EngineRefused, SlipwayError
from slipway.contract.manifest import FILE_NAME
from slipway.gateway import log
from slipway.gateway.app import create_app
from slipway.gateway.backends.base import Backend
from slipway.gateway.backends.llmapi import LlmapiBackend
from slipway.gateway.backends.local import LocalBackend
from slipway.gateway.backends.triton import TritonBackend
from slipway.gateway.engine_folders import EngineFolders
from slipway.gateway.grammars.check import GrammarCheck
from slipway.gateway.http.protocol import BoundedProtocol
from slipway.gateway.models import Model, Models
from slipway.gateway.prompter import Prompter
from slipway.gateway.queue import EngineQueue
from slipway.gateway.settings import Settings

# Running answers end by themselves once `stopping` is set; this bounds a client that does not read.
_GRACE_S = 2
_BACKLOG = 2048
# Longer than clients and load balancers keep a connection (httpx 5 s, AWS 60 s), so that it is they who end
# it, and no request meets a connection that has just been closed.
_KEEP_ALIVE_S = 75


@dataclass(frozen=True, slots=True)
class Start:
    """Which models, and how they are made in the event loop that is to serve them."""

    names: tuple[str, ...]
    models: Callable[[], Awaitable[Models]]


class CannotListen(SlipwayError):
    """The address is taken, or is not this machine's."""


class Server(uvicorn.Server):
    """uvicorn, with a word when it serves, and with running answers ended when it is told to stop."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event, serving: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._serving = serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Called once the signals are caught."""
        await super().startup(sockets)
        self._serving()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called at the first signal."""
        self._stopping.set()
        await super().shutdown(sockets)


def local(directory: Path, threads: int | None, max_queue: int) -> Start:
    """Serve one engine in a worker process. Raises EngineRefused."""
    prompter = Prompter.load(directory)

    async def start() -> Models:
        name = prompter.manifest.name
        backend = await LocalBackend.start(directory, prompter.tokenizer, name, threads)
        return Models([Model(prompter, backend, _queue(prompter, max_queue))])

    return Start((prompter.manifest.name,), start)


def triton(engines: Path, url: str, max_queue: int) -> Start:
    """Serve the engines of a folder that a Triton server has; a damaged one is named and left out.

    Raises EngineRefused when there is none.
    """
    if not any(engines.glob(f"*/{FILE_NAME}")):
        raise EngineRefused(f"{engines} holds no built engine; build one with `make engine`.")

    def model(folder: Path, prompter: Prompter) -> Model:
        manifest = prompter.manifest
        if manifest.target.runtime == "llmapi":
            backend: Backend = LlmapiBackend(manifest.name, url)
        else:
            grammars = GrammarCheck(folder, manifest) if manifest.target.compiled else None
            backend = TritonBackend(manifest.name, manifest.target, url, grammars)
        return Model(prompter, backend, _queue(prompter, max_queue))

    folders = EngineFolders(engines, model)
    found = folders.new()  # before the workers are forked, which share what was read
    if not found:
        raise EngineRefused(f"No engine in {engines} can be served.")

    async def start() -> Models:
        return Models([model(folder, prompter) for folder, prompter in found], folders)

    return Start(tuple(prompter.manifest.name for _, prompter in found), start)


def _queue(prompter: Prompter, max_queue: int) -> EngineQueue:
    return EngineQueue(prompter.manifest.name, prompter.manifest.limits.max_batch_size, max_queue)


def listen(host: str, port: int, workers: int = 1) -> list[socket.socket]:
    """Take the address before the engines are loaded, so that a taken port is known at once.

    workers: how many sockets share it; the kernel spreads connections among those that listen.
    Raises CannotListen.
    """
    first = _bound(host, port, shared=False)
    if workers == 1:
        return [first]
    # Shared sockets would also share a port with another server's, so it had to be free for one of its own.
    port = first.getsockname()[1]
    first.close()
    return [_bound(host, port, shared=True) for _ in range(workers)]


def _bound(host: str, port: int, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":
            # A port in TIME_WAIT is free; on Windows the option would let two servers share the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"Port {port} on {host} is taken; end what listens there or choose another with --port."
            ) from None
        raise CannotListen(f"Cannot listen on {host}:{port}: {error.strerror}.") from None
    return listener


def greeting(listener: socket.socket, start: Start) -> str:
    """What to say to who started the server."""
    host, port = listener.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host
    return f"Slipway answers at http://{address}:{port}/v1 with {', '.join(start.names)}"


def run(start: Start, listener: socket.socket, settings: Settings, serving: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM, which end running answers and close the engines first.

    serving: called once it does.
    """
    _allow_open_files()
    # Also while the engine loads, and after uvicorn has stopped and gives the signal on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(start, listener, settings, serving))
    except KeyboardInterrupt:
        return


async def _serve(
    start: Start, listener: socket.socket, settings: Settings, serving: Callable[[], None]
) -> None:
    log.set_up(settings.access_log)
    models = await start.models()
    stopping = asyncio.Event()
    config = uvicorn.Config(
        create_app(models, settings, stopping),
        http=partial(BoundedProtocol, arrival_s=settings.arrival_timeout),  # type: ignore[arg-type]
        ws="none",
        log_config=None,  # `gateway.log` has set it up
        log_level="warning",
        access_log=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    # What is there now stays: the collector need not look through it again and again while answers stream.
    gc.collect()
    gc.freeze()
    await Server(config, stopping, serving).serve([listener])


def _allow_open_files() -> None:
    """As many as the system lets this process have: every connection is one, and shells give 1024."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
