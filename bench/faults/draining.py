"""A server that is asked to end while streams run."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.faults.clients import StreamEnd
from bench.faults.servers import Server


@dataclass(frozen=True, slots=True)
class Drained:
    """ends: how the streams ended. short: those that were passed as complete and were not.

    unready_s, ended_s: from the signal until the server was not ready, and had ended. status: of its exit.
    """

    ends: tuple[str, ...]
    short: int
    unready_s: float | None
    ended_s: float
    status: int


def drain(server: Server, streams: int, max_tokens: int) -> Drained:
    """Send SIGTERM once `streams` streams of `max_tokens` tokens run."""
    whole = StreamEnd()
    server.clients.stream(whole, threading.Event(), max_tokens=max_tokens)
    ends = [StreamEnd() for _ in range(streams)]
    with ThreadPoolExecutor(streams) as pool:
        all_started = [threading.Event() for _ in ends]
        for end, started in zip(ends, all_started, strict=True):
            pool.submit(server.clients.stream, end, started, max_tokens=max_tokens)
        for started in all_started:
            started.wait(60)
        began, unready = time.monotonic(), None
        os.kill(server.process.pid, signal.SIGTERM)
        while unready is None and server.process.poll() is None:
            unready = None if server.clients.ready() else time.monotonic() - began
            time.sleep(0.05)
    status = server.process.wait()
    short = sum(end.how == "done" and end.text != whole.text for end in ends)
    return Drained(tuple(end.how for end in ends), short, unready, time.monotonic() - began, status)
