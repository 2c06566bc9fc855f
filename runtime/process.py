"""An engine in a process of its own, for the gateway's local backend: its crash is not the server's."""

import asyncio
import logging
import multiprocessing
import signal
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

from engines.errors import EngineFailed, EngineRefused, InvalidRequest, ModelUnavailable, SlipwayError
from engines.generation import Delta, SamplingParams
from runtime.messages import Broken, Cancel, Close, Events, FromParent, FromWorker, Loaded, Refused, Submit
from runtime.sequence import Event
from runtime.stats import EngineStats

_LOG = logging.getLogger(__name__)
_GRACE = 5.0  # seconds a worker has to end by itself before it is killed
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between attempts to start a worker that dies loading


class EngineProcess:
    """A worker process with an engine in it, watched and started again when it dies.

    Belongs to the event loop that started it. The worker ends when this process does, whatever the reason.
    """

    def __init__(self, directory: Path, threads: int | None) -> None:
        """`start` calls this; until the worker has loaded, there is nothing to use."""
        self._directory = directory
        self._threads = threads
        self._streams: dict[str, asyncio.Queue[Event]] = {}
        self._idle = EngineStats(running=0, waiting=0, slots=0)
        self._stats = self._idle
        self._unavailable: str | None = f"Engine {directory.name} is starting; try again in a few seconds."
        self._watcher: asyncio.Task[None]

    @classmethod
    async def start(cls, directory: Path, threads: int | None = None) -> Self:
        """Start a worker for the engine in `directory` and wait until it is loaded.

        threads: cores for a forward pass; None takes the physical cores of this process.
        Raises EngineRefused in the worker's own words, EngineFailed when it dies while it loads.
        """
        engine = cls(directory, threads)
        await engine._launch()
        engine._watcher = asyncio.create_task(engine._watch())
        return engine

    @property
    def ready(self) -> bool:
        """Whether requests are taken at this moment."""
        return self._unavailable is None

    @property
    def stats(self) -> EngineStats:
        """As of the worker's last step."""
        return self._stats

    async def generate(
        self, request_id: str, prompt_token_ids: Sequence[int], sampling: SamplingParams
    ) -> AsyncGenerator[Delta, None]:
        """Yield what each step adds to the answer; the last delta has a finish_reason.

        Closing the generator early (aclose, or cancelling the task that waits in it) cancels the generation;
        `contextlib.aclosing` does so whatever happens in between.
        Raises InvalidRequest or ContextLengthExceeded for what cannot be served, ModelUnavailable while the
        worker is being started again, EngineFailed when it dies in the middle of this answer.
        """
        if self._unavailable:
            raise ModelUnavailable(self._unavailable)
        if request_id in self._streams:
            raise InvalidRequest(
                f"Request id {request_id} is in use; give every request its own.", param="request_id"
            )
        events: asyncio.Queue[Event] = asyncio.Queue()
        self._streams[request_id] = events
        self._send(Submit(request_id, tuple(prompt_token_ids), sampling))
        try:
            while True:
                event = await events.get()
                if isinstance(event, SlipwayError):
                    raise event
                yield event
                if event.finish_reason:
                    return
        finally:
            # The id stays taken until the worker has sent the last event, to nobody.
            if self._streams.get(request_id) is events:
                self._send(Cancel(request_id))

    async def close(self) -> None:
        """End the worker; answers still running end as cancelled."""
        self._unavailable = f"Engine {self._directory.name} is shutting down."
        self._watcher.cancel()
        await asyncio.wait([self._watcher])
        self._send(Close())
        sentence = await self._reap()
        self._fail_streams(f"{sentence}.")

    async def _launch(self) -> None:
        loop = asyncio.get_running_loop()
        context = multiprocessing.get_context("spawn")
        self._connection: Connection[FromParent, FromWorker]
        self._connection, theirs = context.Pipe()
        self._answered, self._ended = asyncio.Event(), asyncio.Event()
        self._refusal: str | None = None
        self._process = context.Process(
            target=_work,
            args=(theirs, self._directory, self._threads),
            name=f"engine {self._directory.name}",
            daemon=True,
        )
        self._process.start()
        theirs.close()  # so that the worker's death is the end of the pipe
        threading.Thread(target=self._read, args=(loop,), name="engine events", daemon=True).start()
        try:
            await self._answered.wait()
        except asyncio.CancelledError:
            self._process.kill()
            raise
        if not self.ready:
            sentence = await self._reap()
            if self._refusal:
                raise EngineRefused(self._refusal)
            raise EngineFailed(f"{sentence} before it had loaded; its last words are on standard error.")

    async def _watch(self) -> None:
        """Start the worker again whenever it dies, unless its engine is refused by then."""
        while True:
            await self._ended.wait()
            sentence = await self._reap()
            _LOG.error("%s; starting it again.", sentence)
            self._fail_streams(f"{sentence} in the middle of an answer; it is being started again, so retry.")
            try:
                await self._relaunch()
            except EngineRefused as error:
                _LOG.error("%s", error)
                self._unavailable = str(error)
                return

    async def _relaunch(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._launch()
            except EngineFailed as error:
                _LOG.error("%s Next attempt in %d s.", error, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _reap(self) -> str:
        """Wait for the worker's end, by force if need be, and say how it ended."""
        await asyncio.to_thread(self._process.join, _GRACE)
        if self._process.is_alive():
            self._process.kill()
            await asyncio.to_thread(self._process.join)
        await self._ended.wait()
        self._connection.close()
        code = self._process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"The process of engine {self._directory.name} ended ({how})"

    def _fail_streams(self, sentence: str) -> None:
        for events in self._streams.values():
            events.put_nowait(EngineFailed(sentence))
        self._streams.clear()
        self._stats = self._idle

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pass the worker's messages to the loop, from a thread: pipes of Windows cannot be selected on."""
        connection = self._connection
        while True:
            message: FromWorker | None
            try:
                message = connection.recv()
            except (EOFError, OSError):
                message = None
            with suppress(RuntimeError):  # the loop is closed, so nobody is left to tell
                loop.call_soon_threadsafe(self._receive, message)
            if message is None:
                return

    def _receive(self, message: FromWorker | None) -> None:
        """Take a message from the worker; None is its end."""
        match message:
            case Events(events, stats):
                self._stats = stats
                for request_id, event in events:
                    self._pass_on(request_id, event)
            case Loaded(stats):
                self._idle = self._stats = stats
                self._unavailable = None
                self._answered.set()
            case Refused(reason):
                self._refusal = reason
                self._answered.set()
            case Broken(reason):
                _LOG.error("%s", reason)
                self._process.kill()
            case None:
                self._unavailable = self._unavailable or (
                    f"Engine {self._directory.name} is being started again; try again in a few seconds."
                )
                self._answered.set()
                self._ended.set()

    def _pass_on(self, request_id: str, event: Event) -> None:
        events = self._streams[request_id]
        if isinstance(event, SlipwayError) or event.finish_reason:
            del self._streams[request_id]
        events.put_nowait(event)

    def _send(self, message: FromParent) -> None:
        with suppress(OSError):  # the worker is dead; the reader sees it too, and its streams are told
            self._connection.send(message)


def _work(connection: "Connection[FromWorker, FromParent]", directory: Path, threads: int | None) -> None:
    # Ctrl-C reaches the whole process group; the parent decides when the engine ends. The import waits until
    # that is settled, and keeps onnxruntime out of the parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from runtime.worker import serve

    serve(connection, directory, threads)
