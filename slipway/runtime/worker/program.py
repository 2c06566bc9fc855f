"""The worker as a child process: its start, and the messages to it."""

import queue
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from slipway.runtime.worker.messages import FromParent, send


def start_worker(directory: Path, threads: int | None) -> "subprocess.Popen[bytes]":
    """Start `slipway.runtime.worker` as a child, which ends when its pipes close.

    Not with multiprocessing: its helper processes do not run in Triton's stub, where Python is embedded.
    """
    if sys.platform == "win32":
        group = subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        group = 0
    command = [sys.executable, "-m", "slipway.runtime.worker", str(directory)]
    if threads:
        command.append(str(threads))
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C reaches every process of the terminal, but the parent decides when the engine ends.
        start_new_session=True,
        creationflags=group,
    )


def write_messages(pipe: IO[bytes], outgoing: "queue.SimpleQueue[FromParent | None]") -> None:
    """Send messages to a worker until None, in a thread: a worker that does not read blocks only that."""
    with suppress(OSError), pipe:  # the worker is dead; the reader sees it too and ends the streams
        while (message := outgoing.get()) is not None:
            send(pipe, message)
