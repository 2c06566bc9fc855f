"""The gateway as a process: the port, the models it starts with, and a clean end."""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from slipway.contract.errors import EngineRefused, SlipwayError
from slipway.contract.manifest import FILE_NAME
from slipway.gateway import log
from slipway.gateway.app import create_app
from slipway.gateway.backends.base import Backend
from slipway.gateway.backends.compiled import CompiledBackend
from slipway.gateway.backends.ensemble import EnsembleBackend
from slipway.gateway.backends.llmapi import LlmapiBackend
from slipway.gateway.backends.local import LocalBackend
from slipway.gateway.engine_folders import EngineFolders
from slipway.gateway.grammars.check import GrammarCheck
from slipway.gateway.heap import share_heap
from slipway.gateway.http.protocol import BoundedProtocol
from slipway.gateway.http.shutdown import Shutdown
from slipway.gateway.models import Model, Models
from slipway.gateway.prompter import Prompter
from slipway.gateway.queue import EngineQueue
from slipway.gateway.rendering import Rendering
from slipway.gateway.settings import Settings

# Answers that still run after the drain end by themselves. A client that does not read gets this long.
_GRACE_S = 2
_BACKLOG = 2048
_SEND_BYTES = 64 * 1024
# Longer than clients and load balancers keep a connection (httpx 5 s, AWS 60 s), so that they close it, and
# no request arrives on a connection that the server has just closed.
_KEEP_ALIVE_S = 75

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """The names of the models, and the function that makes them in the event loop that serves them."""

    names: tuple[str, ...]
    models: Callable[[], Awaitable[Models]]


class CannotListen(SlipwayError):
    """The address is in use, or it is not an address of this machine."""


class Server(uvicorn.Server):
    """uvicorn, which also reports that it serves, and drains at the first signal.

    drain_s: seconds that running answers have to end; a second signal ends them at once.
    """

    def __init__(
        self, config: uvicorn.Config, shutdown: Shutdown, drain_s: float, on_start: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._shutdown = shutdown
        self._drain_s = drain_s
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; uvicorn catches the signals from here on."""
        await super().startup(sockets)
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Count the signal; uvicorn would leave the engines open at a second Ctrl-C."""
        self._captured_signals.append(sig)
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; whether to stop. Until then the server answers, if only that it ends."""
        await super().on_tick(counter)
        if not self.should_exit:
            return False
        running = len(self.server_state.tasks)
        if running and not self._shutdown.draining.is_set():
            _log.warning(
                "Stopping: %d requests have %g s to end; a second signal ends them now.",
                running,
                self._drain_s,
            )
        self._shutdown.begin()
        return not running or self._shutdown.seconds >= self._drain_s or len(self._captured_signals) > 1

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, after the drain."""
        self._shutdown.stopping.set()
        await super().shutdown(sockets)


def local(directories: Sequence[Path], threads: int | None, settings: Settings) -> Start:
    """Return the start with engines, each in a process of its own.

    Raises EngineRefused where one is damaged, or two have the same name.
    """
    prompters = [Prompter.load(directory) for directory in directories]
    names = tuple(prompter.manifest.name for prompter in prompters)
    _check_names(names, settings.aliases)

    async def start() -> Models:
        models: list[Model] = []
        try:
            for directory, prompter in zip(directories, prompters, strict=True):
                words, name = prompter.tokenizer, prompter.manifest.name
                backend = await LocalBackend.start(directory, words, name, threads)
                queue = _queue(prompter, settings)
                grammars = GrammarCheck(directory, prompter.manifest)
                models.append(Model(prompter, backend, queue, Rendering(prompter), grammars))
        except BaseException:
            await Models(models).close()
            raise
        return Models(models, aliases=settings.aliases)

    return Start(names, start)


def _check_names(names: Sequence[str], aliases: Mapping[str, str]) -> None:
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise EngineRefused(f"Two engines have the name {twice}; leave one of them out.")
    for alias, model in aliases.items():
        if model not in names:
            raise EngineRefused(
                f"--alias {alias}={model} names no engine that is served; give one of: {', '.join(names)}."
            )


def triton(engines: Path, url: str, settings: Settings) -> Start:
    """Return the start with the engines of a folder, served by Triton.

    A damaged engine is named in the log and left out. Raises EngineRefused if no engine is left.
    """
    if not any(engines.glob(f"*/{FILE_NAME}")):
        raise EngineRefused(f"{engines} has no built engine; build one with `make engine`.")

    def model(folder: Path, prompter: Prompter) -> Model:
        manifest, words = prompter.manifest, prompter.tokenizer
        queue, rendering = _queue(prompter, settings), Rendering(prompter)
        if manifest.target.runtime == "llmapi":
            return Model(prompter, LlmapiBackend(manifest.name, url), queue, rendering)
        grammars = GrammarCheck(folder, manifest)
        backend: Backend
        if manifest.target.compiled:
            backend = CompiledBackend(manifest, url, words, grammars)
        else:
            backend = EnsembleBackend(manifest.name, url, words)
        return Model(prompter, backend, queue, rendering, grammars)

    folders = EngineFolders(engines, model)
    found = folders.new_engines()  # before the fork, so that workers share the memory
    if not found:
        raise EngineRefused(f"No engine in {engines} can be served; the log names the reasons.")

    async def start() -> Models:
        return Models([model(folder, prompter) for folder, prompter in found], folders, settings.aliases)

    return Start(tuple(prompter.manifest.name for _, prompter in found), start)


def _queue(prompter: Prompter, settings: Settings) -> EngineQueue:
    manifest, has_keys = prompter.manifest, settings.keys is not None
    return EngineQueue(manifest.name, manifest.limits.max_batch_size, settings.max_queue, has_keys)


def listen(host: str, port: int, workers: int = 1) -> list[socket.socket]:
    """Bind the address before the engines are loaded, so that a port in use is an error at once.

    workers: the number of sockets on the address; the kernel spreads connections among those that listen.
    Raises CannotListen.
    """
    first = _bound(host, port, shared=False)
    if workers == 1:
        return [first]
    # A shared socket would also share the port of another server, so an exclusive one was bound first.
    port = first.getsockname()[1]
    first.close()
    return [_bound(host, port, shared=True) for _ in range(workers)]


def _bound(host: str, port: int, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":
            # A port in TIME_WAIT counts as free. On Windows the option would let two servers share the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections have it too. The kernel would keep 3 MB for a client that does not read.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"Port {port} on {host} is in use; stop the program that listens there, or choose another "
                "with --port."
            ) from None
        raise CannotListen(f"Cannot listen on {host}:{port}: {error.strerror}.") from None
    return listener


def greeting(listener: socket.socket, start: Start) -> str:
    """Return the line that says where the server listens and which models it has."""
    host, port = listener.getsockname()[:2]
    address = f"[{host}]" if ":" in host else host
    return f"Slipway answers at http://{address}:{port}/v1 with {', '.join(start.names)}"


def run(start: Start, listener: socket.socket, settings: Settings, on_start: Callable[[], None]) -> None:
    """Serve until Ctrl-C or SIGTERM; then let the running answers end, and close the engines.

    on_start: called when the server answers.
    """
    _allow_open_files()
    share_heap()
    # For the time while the engine loads, and for the end, when uvicorn raises the signal again.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(start, listener, settings, on_start))
    except KeyboardInterrupt:
        return


async def _serve(
    start: Start, listener: socket.socket, settings: Settings, on_start: Callable[[], None]
) -> None:
    log.set_up(settings.access_log)
    models = await start.models()
    shutdown = Shutdown()
    config = uvicorn.Config(
        create_app(models, settings, shutdown),
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
    # The objects of now stay for good, so the garbage collector need not visit them while answers stream.
    gc.collect()
    gc.freeze()
    await Server(config, shutdown, settings.drain_timeout, on_start).serve([listener])


def _allow_open_files() -> None:
    """Raise the limit to the maximum: each connection is an open file, and shells allow 1024."""
    if sys.platform != "win32":
        import resource

        _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
