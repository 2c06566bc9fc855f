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
from collections.abc import Callable, Sequence
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from threading import Thread

from slipway.contract.errors import SlipwayError

# Time for the running answers and for closing the engines.
_GRACE_S = 10

Serve = Callable[[socket.socket, Callable[[], None]], None]


class WorkerFailed(SlipwayError):
    """A worker ended before it served, so its replacement would too."""


def run_workers(listeners: Sequence[socket.socket], serve: Serve, greeting: str) -> None:
    """Run one worker for each listener until Ctrl-C or SIGTERM, which end all of them.

    serve: runs in a worker: serves until SIGTERM, and calls its second argument when it serves.
    greeting: printed when all workers serve. A worker that dies later is replaced, with a line on stderr.
    Raises WorkerFailed.
    """
    # A shell makes background processes ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # Only this process holds the writing end, so reading ends when this process does.
    parent_alive, held = os.pipe()
    running: dict[ForkProcess, socket.socket] = {}
    try:
        ready = [_start(running, listener, serve, parent_alive, held) for listener in listeners]
        for each in ready:
            _wait_until_ready(each)
        print(f"{greeting}; {len(listeners)} workers", flush=True)
        while True:
            connection.wait([process.sentinel for process in running])
            for process in [process for process in running if not process.is_alive()]:
                print(f"A worker ended ({_exit_reason(process)}); starting another.", file=sys.stderr)
                _wait_until_ready(_start(running, running.pop(process), serve, parent_alive, held))
    except KeyboardInterrupt:
        return
    finally:
        _end(running)


def _start(
    running: dict[ForkProcess, socket.socket],
    listener: socket.socket,
    serve: Serve,
    parent_alive: int,
    held: int,
) -> connection.Connection:
    """Start a worker and return the connection on which it reports that it serves."""
    ready, report = multiprocessing.Pipe(duplex=False)

    def work() -> None:
        os.close(held)
        Thread(target=_end_with_parent, args=(parent_alive,), daemon=True).start()
        serve(listener, lambda: report.send(True))

    # Forked before any event loop, so that workers share the memory of tokenizers and templates.
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    report.close()
    running[process] = listener
    return ready


def _wait_until_ready(ready: connection.Connection) -> None:
    try:
        ready.recv()
    except EOFError:
        raise WorkerFailed("A worker ended before it served; its own message is above.") from None


def _end_with_parent(parent_alive: int) -> None:
    os.read(parent_alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _end(running: dict[ForkProcess, socket.socket]) -> None:
    for process in running:
        process.terminate()
    for process in running:
        process.join(_GRACE_S)
        process.kill()
        process.join()


def _exit_reason(process: ForkProcess) -> str:
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"status {code}"
