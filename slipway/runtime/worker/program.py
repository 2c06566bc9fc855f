"""The worker as a child process: its start, and the messages to it."""

import queue
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

from slipway.runtime.child import start_child
from slipway.runtime.worker.messages import FromParent, send


def start_worker(directory: Path, threads: int | None) -> "subprocess.Popen[bytes]":
    """Start `slipway.runtime.worker` as a child, which ends when its pipes close."""
    return start_child("slipway.runtime.worker", str(directory), *([str(threads)] if threads else []))


def write_messages(pipe: IO[bytes], outgoing: "queue.SimpleQueue[FromParent | None]") -> None:
    """Send messages to a worker until None, in a thread: a worker that does not read blocks only that."""
    with suppress(OSError), pipe:  # the worker is dead; the reader sees it too and ends the streams
        while (message := outgoing.get()) is not None:
            send(pipe, message)
