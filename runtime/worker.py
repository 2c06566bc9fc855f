"""The engine process: an `Engine` at the other end of a pipe; started by `process` and ended by it."""

import threading
from multiprocessing.connection import Connection
from pathlib import Path

from engines.errors import EngineRefused, SlipwayError
from runtime.engine import Engine
from runtime.messages import Broken, Cancel, Close, Events, FromParent, FromWorker, Loaded, Refused, Submit
from runtime.sequence import Event


def serve(connection: "Connection[FromWorker, FromParent]", directory: Path, threads: int | None) -> None:
    """Load the engine, say so, and serve until the parent ends it or dies."""
    try:
        worker = Worker(connection, directory, threads)
    except EngineRefused as error:
        connection.send(Refused(str(error)))
        return
    worker.run()


class Worker:
    """The engine, and the events of the current step that the parent has not been told yet."""

    def __init__(
        self, connection: "Connection[FromWorker, FromParent]", directory: Path, threads: int | None
    ) -> None:
        self._connection = connection
        self._sending = threading.Lock()  # the main thread and the engine's both send
        self._events: list[tuple[str, Event]] = []  # touched by the engine's thread only
        self._engine = Engine(directory, threads, after_step=self._after_step)

    def run(self) -> None:
        """Do what the parent asks until it is gone."""
        self._send(Loaded(self._engine.stats))
        while (message := self._receive()) is not None:
            match message:
                case Submit():
                    self._submit(message)
                case Cancel(request_id):
                    self._engine.cancel(request_id)
                case Close():
                    break
        self._engine.close()

    def _submit(self, message: Submit) -> None:
        request_id = message.request_id
        try:
            self._engine.submit(
                request_id,
                message.prompt_token_ids,
                message.sampling,
                lambda event: self._events.append((request_id, event)),
            )
        except SlipwayError as error:
            self._send(Events(((request_id, error),), self._engine.stats))

    def _after_step(self) -> None:
        """One message per step, however many requests took part in it."""
        self._send(Events(tuple(self._events), self._engine.stats))
        self._events.clear()
        failure = self._engine.failure
        if failure:
            self._send(Broken(failure))

    def _receive(self) -> FromParent | None:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            return None  # the parent died

    def _send(self, message: FromWorker) -> None:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                # The parent died; `_receive` sees it too and ends the process.
                self._events.clear()
