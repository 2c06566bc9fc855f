"""An engine in a process of its own: its crash does not take the server down."""

import asyncio
import logging
import queue
import signal
import subprocess
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from slipway.contract.errors import (
    EngineFailed,
    EngineRefused,
    InvalidRequest,
    ModelUnavailable,
    SlipwayError,
)
from slipway.contract.generation import Delta, SamplingParams
from slipway.runtime.restarts import Restarts
from slipway.runtime.sequence import Event
from slipway.runtime.stats import EngineStats
from slipway.runtime.worker.messages import (
    Alive,
    Broken,
    Cancel,
    Close,
    Events,
    FromParent,
    FromWorker,
    Loaded,
    Refused,
    Submit,
    receive,
)
from slipway.runtime.worker.program import start_worker, write_messages
from slipway.runtime.worker.pulse import LOOK_EVERY_S, Pulse

_LOG = logging.getLogger(__name__)
_GRACE = 5.0  # seconds a worker has to end by itself before it is killed
# Loading again may take longer than the first time, but not without end.
_RELOAD_FACTOR, _RELOAD_EXTRA_S = 10, 60.0


class EngineProcess:
    """A worker process with an engine in it, watched and started again when it dies.

    Belongs to the event loop that started it. The worker ends when this process ends, for any reason.
    """

    def __init__(self, directory: Path, threads: int | None) -> None:
        """Use `start`; before the worker has loaded, the object cannot be used."""
        self._directory = directory
        self._threads = threads
        self._streams: dict[str, asyncio.Queue[Event]] = {}
        self._idle = EngineStats(running=0, waiting=0, slots=0)
        self._stats = self._idle
        self._unavailable: str | None = f"Engine {directory.name} is starting; try again in a few seconds."
        self._pulse = Pulse()
        self._restarts = Restarts()
        self._load_s: float | None = None  # the first load has no bound but the patience of its caller
        self._loaded_at = 0.0
        self._watcher: asyncio.Task[None]

    @classmethod
    async def start(cls, directory: Path, threads: int | None = None) -> Self:
        """Start a worker for the engine in `directory` and wait until it is loaded.

        threads: cores for a forward pass; None takes the physical cores of this process.
        Raises EngineRefused with the worker's message, EngineFailed when the process does not start or dies
        while it loads.
        """
        engine = cls(directory, threads)
        began = time.monotonic()
        await engine._launch()
        engine._load_s = _RELOAD_FACTOR * (time.monotonic() - began) + _RELOAD_EXTRA_S
        engine._watcher = asyncio.create_task(engine._watch())
        return engine

    @property
    def ready(self) -> bool:
        """Whether requests are taken at this moment."""
        return self._unavailable is None and self._pulse.trouble is None

    def check(self) -> None:
        """Raise ModelUnavailable, which says why, unless requests are taken at this moment."""
        if self._unavailable:
            raise ModelUnavailable(self._unavailable)
        if trouble := self._pulse.trouble:
            raise ModelUnavailable(
                f"The process of engine {self._directory.name} {trouble}; if that lasts, it is started "
                "again. Try again in a few seconds."
            )

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
        self.check()
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
            # The id stays in use until the worker has sent the last event, which is dropped.
            if self._streams.get(request_id) is events:
                self.cancel(request_id)

    def cancel(self, request_id: str) -> None:
        """End a generation before its next step: as cancelled, unless it ends by itself first."""
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
        try:
            self._process = start_worker(self._directory, self._threads)
        except OSError as error:
            raise EngineFailed(
                f"The process of engine {self._directory.name} does not start ({error})."
            ) from None
        self._answered, self._ended = asyncio.Event(), asyncio.Event()
        self._refusal: str | None = None
        self._pulse = Pulse()
        self._outgoing: queue.SimpleQueue[FromParent | None] = queue.SimpleQueue()
        writer = (self._process.stdin, self._outgoing)
        threading.Thread(target=write_messages, args=writer, name="engine requests", daemon=True).start()
        threading.Thread(target=self._read, args=(loop,), name="engine events", daemon=True).start()
        try:
            async with asyncio.timeout(self._load_s):
                await self._answered.wait()
        except asyncio.CancelledError:
            self._process.kill()
            raise
        except TimeoutError:
            self._process.kill()
            await self._reap()
            raise EngineFailed(
                f"Engine {self._directory.name} was not loaded within {self._load_s:.0f} s."
            ) from None
        self._loaded_at = time.monotonic()
        if self._unavailable is not None:
            sentence = await self._reap()
            if self._refusal:
                raise EngineRefused(self._refusal)
            raise EngineFailed(f"{sentence} before it had loaded; its last output is on standard error.")

    async def _watch(self) -> None:
        """Start the worker again whenever it dies, and end it when it hangs."""
        while True:
            await self._until_ended()
            sentence = await self._reap()
            _LOG.error("%s; starting it again.", sentence)
            self._fail_streams(f"{sentence} in the middle of an answer; it is being started again, so retry.")
            await self._relaunch()

    async def _until_ended(self) -> None:
        while not self._ended.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LOOK_EVERY_S)
            self._pulse.look()
            if self._pulse.hung:
                _LOG.error("The process of engine %s %s.", self._directory.name, self._pulse.trouble)
                self._process.kill()
                await self._ended.wait()

    async def _relaunch(self) -> None:
        """Try until it runs, even if refused: memory may become free, or the engine be built again."""
        pause = self._restarts.pause(time.monotonic() - self._loaded_at)
        while True:
            await asyncio.sleep(pause)
            try:
                return await self._launch()
            except (EngineFailed, EngineRefused) as error:
                pause = self._restarts.pause(0)
                _LOG.error("%s Next attempt in %d s.", error, pause)
                if isinstance(error, EngineRefused):
                    self._unavailable = str(error)

    async def _reap(self) -> str:
        """Wait for the worker's end, by force if need be, and say how it ended."""
        try:
            code = await asyncio.to_thread(self._process.wait, _GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = await asyncio.to_thread(self._process.wait)
        await self._ended.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"The process of engine {self._directory.name} ended ({how})"

    def _fail_streams(self, sentence: str) -> None:
        for events in self._streams.values():
            events.put_nowait(EngineFailed(sentence))
        self._streams.clear()
        self._stats = self._idle

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pass the worker's messages to the loop, from a thread: pipes of Windows cannot be selected on."""
        assert self._process.stdout
        pulse = self._pulse
        with self._process.stdout as pipe:
            while True:
                message: FromWorker | None = receive(pipe)
                pulse.beat()
                with suppress(RuntimeError):  # the loop is closed, so no client is left
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
            case Alive(pass_s):
                self._pulse.in_pass(pass_s)
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
                self._outgoing.put(None)
                self._answered.set()
                self._ended.set()

    def _pass_on(self, request_id: str, event: Event) -> None:
        events = self._streams[request_id]
        if isinstance(event, SlipwayError) or event.finish_reason:
            del self._streams[request_id]
        events.put_nowait(event)

    def _send(self, message: FromParent) -> None:
        self._outgoing.put(message)
