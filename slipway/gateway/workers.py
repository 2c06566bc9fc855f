"""Several gateway processes on one port, for `slipway gateway --workers`; Linux, with the Triton backend.

Every worker has a listening socket of its own on the same address, among which the kernel spreads the
connections (SO_REUSEPORT). This process made them and keeps them open, so the connections of a worker that
died wait for the one that takes its place. It serves nothing itself.
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

# What `server` gives running answers, and the engines' ends.
_GRACE_S = 10

Serve = Callable[[socket.socket, Callable[[], None]], None]


class WorkerFailed(SlipwayError):
    """A worker ended before it could serve, so another one would too."""


def run_workers(listeners: Sequence[socket.socket], serve: Serve, greeting: str) -> None:
    """Serve with a process for each listener until Ctrl-C or SIGTERM, which end all of them.

    serve: what a worker does: serve until SIGTERM, and call what it was given once it does.
    greeting: printed when all serve. A worker that dies later is replaced, with a word on stderr.
    Raises WorkerFailed.
    """
    for how in (signal.SIGINT, signal.SIGTERM):  # a shell lets what it starts with & ignore the first
        signal.signal(how, signal.default_int_handler)
    alive, held = os.pipe()  # reads its end once this process, which alone holds the other end, is no more
    running: dict[ForkProcess, socket.socket] = {}
    try:
        ready = [_start(running, listener, serve, alive, held) for listener in listeners]
        for each in ready:
            _wait_until_ready(each)
        print(f"{greeting}; {len(listeners)} workers", flush=True)
        while True:
            connection.wait([process.sentinel for process in running])
            for process in [process for process in running if not process.is_alive()]:
                print(f"A worker ended ({_how(process)}); another takes its place.", file=sys.stderr)
                _wait_until_ready(_start(running, running.pop(process), serve, alive, held))
    except KeyboardInterrupt:
        return
    finally:
        _end(running)


def _start(
    running: dict[ForkProcess, socket.socket], listener: socket.socket, serve: Serve, alive: int, held: int
) -> connection.Connection:
    """Add a worker; what it says once it serves."""
    ready, told = multiprocessing.Pipe(duplex=False)

    def work() -> None:
        os.close(held)
        Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
        serve(listener, lambda: told.send(True))

    # Forked, before any event loop: tokenizers and templates are read once and their memory is shared.
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    told.close()
    running[process] = listener
    return ready


def _wait_until_ready(ready: connection.Connection) -> None:
    try:
        ready.recv()
    except EOFError:
        raise WorkerFailed("A worker ended before it served; what it said is above.") from None


def _end_with_parent(alive: int) -> None:
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _end(running: dict[ForkProcess, socket.socket]) -> None:
    for process in running:
        process.terminate()
    for process in running:
        process.join(_GRACE_S)
        process.kill()
        process.join()


def _how(process: ForkProcess) -> str:
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"status {code}"
