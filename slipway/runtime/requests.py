"""The requests of one engine, from submission to their last event, shared by its thread and its clients'."""

import threading
from functools import partial

import numpy as np

from slipway.contract.errors import EngineFailed, InvalidRequest
from slipway.contract.generation import Delta
from slipway.runtime.grammar.compiler import GrammarCompiler, Outcome
from slipway.runtime.grammar.matcher import Matcher
from slipway.runtime.scheduler import Chunk, Row, Scheduler
from slipway.runtime.sequence import ActiveSequence, Event
from slipway.runtime.slots import Cut, Place


class Requests:
    """Requests whose grammar is being compiled, and requests that the scheduler has.

    Clients add and cancel from any thread; only the engine's thread takes requests out. The lock also guards
    the scheduler. It is held for bookkeeping only, never during a forward pass or an event.
    """

    def __init__(self, engine: str, scheduler: Scheduler, grammars: GrammarCompiler) -> None:
        """engine: its name, for error messages."""
        self._engine = engine
        self._scheduler = scheduler
        self._grammars = grammars
        self._changed = threading.Condition()
        self._sequences: dict[str, ActiveSequence] = {}
        self._compiling: dict[str, ActiveSequence] = {}
        # The last events of requests that never reached the scheduler.
        self._ended: list[tuple[ActiveSequence, Event]] = []
        self._cancelled: set[str] = set()
        self._closing = False
        self._failure: str | None = None

    def __getitem__(self, request_id: str) -> ActiveSequence:
        return self._sequences[request_id]

    def add(self, request_id: str, sequence: ActiveSequence) -> None:
        """Queue a request, or compile its grammar first if it has one.

        Raises EngineFailed when the engine failed or is closed, InvalidRequest for an id in use.
        """
        with self._changed:
            if self._failure:
                raise EngineFailed(self._failure)
            if self._closing:
                raise EngineFailed(f"Engine {self._engine} is closed.")
            if request_id in self._sequences or request_id in self._compiling:
                raise InvalidRequest(
                    f"Request id {request_id} is in use; give every request its own.", param="request_id"
                )
            grammar = sequence.sampling.grammar
            if grammar is None:
                self._queue(request_id, sequence)
            else:
                self._compiling[request_id] = sequence
                wanted = partial(self._is_compiling, request_id, sequence)
                self._grammars.start(grammar, wanted, partial(self._compiled, request_id, sequence))

    def cancel(self, request_id: str) -> bool:
        """Mark a request as cancelled; False if there is none with this id."""
        with self._changed:
            if request_id in self._compiling:
                self._ended.append((self._compiling.pop(request_id), Delta(finish_reason="cancelled")))
                self._changed.notify()
                return True
            if request_id not in self._sequences:
                return False
            self._cancelled.add(request_id)
            return True

    def counts(self) -> tuple[int, int]:
        """How many requests run and how many wait."""
        with self._changed:
            return len(self._scheduler.running), len(self._scheduler.waiting) + len(self._compiling)

    @property
    def failure(self) -> str | None:
        """Why the engine failed, in one sentence; None while it works."""
        with self._changed:
            return self._failure

    def wait(self) -> bool:
        """Wait until there is work; False once the engine is to close."""
        with self._changed:
            self._changed.wait_for(lambda: self._sequences or self._ended or self._closing)
            return not self._closing

    def take_ended(self) -> list[tuple[ActiveSequence, Event]]:
        """The requests that ended before they were queued, with their last events; each is returned once."""
        with self._changed:
            ended, self._ended = self._ended, []
            return ended

    def cancelled(self) -> list[str]:
        """The queued and running requests that are to end as cancelled."""
        with self._changed:
            return list(self._cancelled)

    def rows(self) -> list[Row]:
        """The rows of the next decode batch."""
        return self._scheduler.rows()

    def next_chunk(self, budget: int) -> tuple[Place | None, Chunk | None]:
        """The slot of a request that starts now, if one does, and the prompt tokens to read next."""
        with self._changed:
            return self._scheduler.start_next(), self._scheduler.chunk(budget)

    def leave(self, request_id: str) -> list[Cut]:
        """Take a request out. Returns the slots or pages to cut."""
        with self._changed:
            del self._sequences[request_id]
            self._cancelled.discard(request_id)
            return self._scheduler.leave(request_id)

    def close(self) -> None:
        """Take no more requests, and wake the engine's thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def end(self, failure: str | None) -> list[ActiveSequence]:
        """Take every request out and take no more. Returns their sequences."""
        with self._changed:
            self._closing = True
            self._failure = failure
            left = [*self._sequences.values(), *self._compiling.values()]
            self._compiling.clear()
            for request_id in self._sequences:
                self._scheduler.leave(request_id)
            self._sequences.clear()
            return left

    def _is_compiling(self, request_id: str, sequence: ActiveSequence) -> bool:
        with self._changed:
            return self._compiling.get(request_id) is sequence

    def _compiled(self, request_id: str, sequence: ActiveSequence, outcome: Outcome) -> None:
        """Queue a request whose grammar is compiled, unless it was cancelled in the meantime."""
        with self._changed:
            if not self._is_compiling(request_id, sequence):
                return
            del self._compiling[request_id]
            if isinstance(outcome, Matcher):
                sequence.matcher = outcome
                self._queue(request_id, sequence)
            else:
                self._ended.append((sequence, outcome))
                self._changed.notify()

    def _queue(self, request_id: str, sequence: ActiveSequence) -> None:
        self._sequences[request_id] = sequence
        prompt = np.array(sequence.prompt_token_ids, dtype=np.int64)
        scored = sequence.scores is not None
        self._scheduler.join(request_id, prompt, sequence.sampling.max_tokens, scored)
        self._changed.notify()
