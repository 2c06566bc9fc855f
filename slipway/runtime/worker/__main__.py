"""The engine process: an `Engine` between two pipes.

    python -m slipway.runtime.worker DIR [THREADS]

It reads messages from standard input and writes messages to standard output.
SLIPWAY_SPECULATION=0 (or false, off, no) in the environment switches draft tokens off.
"""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from slipway.contract.errors import EngineRefused, SlipwayError
from slipway.runtime.engine import Engine
from slipway.runtime.worker.event_buffer import EventBuffer
from slipway.runtime.worker.messages import (
    Alive,
    Broken,
    Cancel,
    Close,
    Events,
    FromWorker,
    Loaded,
    Refused,
    Submit,
    receive,
    send,
)
from slipway.runtime.worker.pulse import LOOK_EVERY_S


def main() -> None:
    """Load the engine, report it, and serve until the parent ends it or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    directory, threads = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with the messages
    try:
        worker = Worker(sys.stdin.buffer, answers, directory, threads)
    except EngineRefused as error:
        send(answers, Refused(str(error)))
        return
    worker.run()


class Worker:
    """The engine, and the events that the parent has not received yet."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes], directory: Path, threads: int | None) -> None:
        self._requests, self._answers = requests, answers
        self._sending = threading.Lock()  # the main thread and the engine's both send
        self._events = EventBuffer()  # touched by the engine's thread only
        self._engine = Engine(directory, threads, after_step=self._after_step, speculation=_speculation())

    def run(self) -> None:
        """Serve the parent's messages until it closes the pipe or asks to end."""
        self._send(Loaded(self._engine.stats))
        threading.Thread(target=self._show_life, name="pulse", daemon=True).start()
        while (message := receive(self._requests)) is not None:
            match message:
                case Submit():
                    self._submit(message)
                case Cancel(request_id):
                    self._engine.cancel(request_id)
                case Close():
                    break
        self._engine.close()

    def _show_life(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            self._send(Alive(self._engine.pass_s))

    def _submit(self, message: Submit) -> None:
        request_id = message.request_id
        # The parent must see where the first min_tokens tokens end.
        put = partial(self._events.put, request_id, may_wait=not message.sampling.min_tokens)
        try:
            self._engine.submit(request_id, message.prompt_token_ids, message.sampling, put)
        except SlipwayError as error:
            self._send(Events(((request_id, error),), self._engine.stats))

    def _after_step(self) -> None:
        """At most one message per step, however many requests took part in it."""
        stats = self._engine.stats
        events = self._events.take(time.monotonic(), stats.running)
        if events:
            self._send(Events(events, stats))
        failure = self._engine.failure
        if failure:
            self._send(Broken(failure))

    def _send(self, message: FromWorker) -> None:
        # When the parent died, `run` sees it too and ends the process.
        with self._sending, suppress(OSError):
            send(self._answers, message)


def _speculation() -> bool:
    value = os.environ.get("SLIPWAY_SPECULATION") or "1"
    try:
        # The words that the option of `slipway generate` knows in the same variable.
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        raise EngineRefused(f"SLIPWAY_SPECULATION is {value!r} in the environment; set 1 or 0.") from None


if __name__ == "__main__":
    main()
