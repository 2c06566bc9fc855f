"""Several gateway processes on one port, on Linux.

Each worker has a listening socket of its own on the same address, and the kernel spreads connections among
them (SO_REUSEPORT). The parent process opens the sockets and keeps them open. So when a worker dies, its
connections wait for the worker that replaces it. The parent itself serves nothing.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from threading import Thread

from slipway.contract.errors import SlipwayError
from slipway.gateway.log import say
from slipway.runtime.restarts import Restarts

# Beyond the drain: for the last events of the answers, and for closing the engines.
CLOSE_S = 10.0

Serve = Callable[[socket.socket, Callable[[], None]], None]


class WorkerFailed(SlipwayError):
    """A worker ended before it served, or again and again, so its replacement would too."""


@dataclass(slots=True)
class Worker:
    """A listening socket, and the process that serves it: None while that waits to be started again.

    since: when the process was started. due: when it is to be started.
    """

    listener: socket.socket
    process: ForkProcess | None = None
    since: float = 0.0
    due: float = 0.0
    restarts: Restarts = field(default_factory=Restarts)


def run_workers(listeners: Sequence[socket.socket], serve: Serve, greeting: str, drain_s: float) -> None:
    """Run one worker for each listener until Ctrl-C or SIGTERM, which all of them get.

    serve: runs in a worker: serves until SIGTERM, and calls its second argument when it serves.
    greeting: printed when all workers serve. A worker that dies later is replaced, with a line on stderr.
    drain_s: seconds that a worker lets its answers run at the end. A second signal ends them at once.
    Raises WorkerFailed.
    """
    # A shell makes background processes ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    workers = Workers(listeners, serve)
    try:
        workers.start()
        say(f"{greeting}; {len(listeners)} workers", sys.stdout)
        workers.watch()
    except KeyboardInterrupt:
        return
    finally:
        workers.end(drain_s + CLOSE_S)


class Workers:
    """All workers, and the pipe by which they notice that this process is gone."""

    def __init__(self, listeners: Sequence[socket.socket], serve: Serve) -> None:
        self._workers = [Worker(listener) for listener in listeners]
        self._serve = serve
        # Only this process holds the writing end, so reading ends when this process does.
        self._parent_alive, self._held = os.pipe()

    def start(self) -> None:
        """Start all and return when they serve. Raises WorkerFailed."""
        ready = [self._start(worker) for worker in self._workers]
        for each in ready:
            try:
                each.recv()
            except EOFError:
                raise WorkerFailed("A worker ended before it served; its own message is above.") from None

    def watch(self) -> None:
        """Replace workers that die, for ever. Raises WorkerFailed when one dies again and again."""
        while True:
            now = time.monotonic()
            for worker in self._workers:
                if worker.process is None and worker.due <= now:
                    self._start(worker)
            waits = [worker.due - now for worker in self._workers if worker.process is None]
            connection.wait([process.sentinel for process in self._running()], min(waits, default=None))
            for worker in self._workers:
                if worker.process is not None and not worker.process.is_alive():
                    _count_death(worker)

    def end(self, grace_s: float) -> None:
        """End all: ask them, wait up to `grace_s` seconds, kill them. A second signal ends them at once."""
        try:
            self._ask_to_end(grace_s)
        except KeyboardInterrupt:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            self._ask_to_end(CLOSE_S)
        for process in self._running():
            process.kill()
            process.join()

    def _ask_to_end(self, grace_s: float) -> None:
        deadline = time.monotonic() + grace_s
        for process in self._running():
            process.terminate()
        for process in self._running():
            process.join(max(0.0, deadline - time.monotonic()))

    def _running(self) -> list[ForkProcess]:
        return [worker.process for worker in self._workers if worker.process is not None]

    def _start(self, worker: Worker) -> connection.Connection:
        """Start the process of a worker and return the connection on which it reports that it serves."""
        ready, report = multiprocessing.Pipe(duplex=False)

        def work() -> None:
            os.setpgid(0, 0)  # Ctrl-C of the terminal reaches the parent only, which passes it on.
            os.close(self._held)
            Thread(target=_end_with_parent, args=(self._parent_alive,), daemon=True).start()
            self._serve(worker.listener, lambda: report.send(True))

        # Forked before any event loop, so that workers share the memory of tokenizers and templates.
        worker.process = multiprocessing.get_context("fork").Process(target=work)
        worker.process.start()
        worker.since = time.monotonic()
        report.close()
        return ready


def _count_death(worker: Worker) -> None:
    assert worker.process is not None
    now, code = time.monotonic(), worker.process.exitcode or 0
    reason = signal.Signals(-code).name if code < 0 else f"status {code}"
    pause = worker.restarts.pause(now - worker.since)
    if worker.restarts.too_many:
        raise WorkerFailed(
            f"A worker ended {worker.restarts.deaths} times in a row, the last time with {reason}; its own "
            "messages are above."
        )
    worker.process, worker.due = None, now + pause
    say(f"A worker ended ({reason}); starting another in {pause:g} s.", sys.stderr)


def _end_with_parent(parent_alive: int) -> None:
    """Both signals: without a parent the worker ends at once, and gives the port free."""
    os.read(parent_alive, 1)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
