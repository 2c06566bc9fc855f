"""The in-flight batching engine: one thread that prefills and decodes for whoever submits a request.

Run by `worker`, the engine process of the gateway and of Triton's Python model, and by the commands.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from slipway.contract.errors import EngineFailed, InvalidRequest
from slipway.contract.generation import Delta, SamplingParams
from slipway.contract.manifest import open_engine
from slipway.runtime.cpu import physical_cores
from slipway.runtime.draft_length import DraftLength
from slipway.runtime.executors.base import MOST_EXTENDED, MOST_ROWS
from slipway.runtime.executors.choice import open_executor
from slipway.runtime.grammar.compiler import GrammarCompiler, Outcome
from slipway.runtime.grammar.matcher import Matcher
from slipway.runtime.memory import DEFAULT_CACHE_BYTES, slots_within_memory
from slipway.runtime.prefill_budget import SMALLEST_BUDGET, Pace
from slipway.runtime.scheduler import Chunk, Row, Scheduler
from slipway.runtime.sequence import ActiveSequence, Event, OnEvent
from slipway.runtime.slots import Place
from slipway.runtime.stats import EngineStats
from slipway.runtime.validation import check_request


class Engine:
    """A built engine, loaded and running in a thread of its own.

    At each step all running requests decode together, then waiting ones are prefilled into free slots, in
    chunks and within a budget of tokens, so requests join and leave between steps, none waits for another to
    finish, and a long prompt holds nobody up.
    """

    def __init__(
        self,
        directory: Path,
        threads: int | None = None,
        after_step: Callable[[], None] | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        on_cpu: bool = False,
        speculation: bool = True,
    ) -> None:
        """Load the engine in `directory`.

        threads: cores for a forward pass; None takes the physical cores of this process.
        after_step: called from the engine's thread after the events of each forward pass, and once more when
            the engine has failed; it must not raise.
        cache_bytes: memory for the prompts of finished requests, whose prefixes later ones need not read
            again; 0 keeps none.
        on_cpu: run an engine built for a GPU on the CPU, slowly, to try it.
        speculation: guess tokens of answers that repeat their context and check several in one pass, where
            that is faster; the answers stay the same.
        Raises EngineRefused for an engine that must not be served.
        """
        self.manifest = open_engine(directory)
        limits, threads = self.manifest.limits, threads or physical_cores()
        self._executor = open_executor(
            directory, self.manifest, limits.max_batch_size, limits.max_seq_len, threads, on_cpu
        )
        self._grammars = GrammarCompiler(directory, self.manifest)
        self._pace = Pace()
        self._draft_length = DraftLength()
        self._speculates = speculation and self._executor.capabilities.extends
        self._generated = self._drafted = self._accepted = 0
        self._after_step = after_step
        slots = slots_within_memory(self.manifest, self._executor, cache_bytes)
        # Guards all below, which only the engine's thread takes requests out of. Held for bookkeeping, never
        # during a forward pass or an event.
        self._changed = threading.Condition()
        self._scheduler = Scheduler(slots, self._executor.capabilities.appends)
        self._sequences: dict[str, ActiveSequence] = {}
        # Requests whose grammar is being compiled, which queue then, and the ends of those that never queue.
        self._compiling: dict[str, ActiveSequence] = {}
        self._ended: list[tuple[ActiveSequence, Event]] = []
        self._cancelled: set[str] = set()
        self._closing = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._serve, name=f"engine {self.manifest.name}", daemon=True)
        self._thread.start()

    def submit(
        self, request_id: str, prompt_token_ids: Sequence[int], sampling: SamplingParams, on_event: OnEvent
    ) -> None:
        """Queue a request, once its grammar is compiled if it has one.

        on_event is called from the engine's thread, must not block and must not raise. Its last event is a
        Delta with a finish_reason, or an error.
        Raises InvalidRequest or ContextLengthExceeded when the request cannot be served, EngineFailed when
        the engine is broken or closed. That a grammar cannot be used is an event, an InvalidRequest.
        """
        check_request(prompt_token_ids, sampling, self.manifest)
        sequence = ActiveSequence(prompt_token_ids, sampling, self.manifest.eos_token_ids, on_event)
        with self._changed:
            if self._failure:
                raise EngineFailed(self._failure)
            if self._closing:
                raise EngineFailed(f"Engine {self.manifest.name} is closed.")
            if request_id in self._sequences or request_id in self._compiling:
                raise InvalidRequest(
                    f"Request id {request_id} is in use; give every request its own.", param="request_id"
                )
            if sampling.grammar is None:
                self._join(request_id, sequence)
            else:
                self._compiling[request_id] = sequence
                waits = partial(self._waits, request_id, sequence)
                queue = partial(self._compiled, request_id, sequence)
                self._grammars.start(sampling.grammar, waits, queue)

    def cancel(self, request_id: str) -> bool:
        """End a request, running or waiting, before the next step; False when it is not here.

        Its last event then has finish_reason "cancelled", unless it ends by itself first.
        """
        with self._changed:
            if request_id in self._compiling:
                self._ended.append((self._compiling.pop(request_id), Delta(finish_reason="cancelled")))
                self._changed.notify()
                return True
            if request_id not in self._sequences:
                return False
            self._cancelled.add(request_id)
            return True

    @property
    def stats(self) -> EngineStats:
        """As of this moment."""
        with self._changed:
            return EngineStats(
                running=len(self._scheduler.running),
                waiting=len(self._scheduler.waiting) + len(self._compiling),
                slots=self._scheduler.slots.count,
                generated_tokens=self._generated,
                draft_tokens=self._drafted,
                accepted_tokens=self._accepted,
            )

    @property
    def session_s(self) -> float:
        """Seconds spent in forward passes inside onnxruntime so far."""
        return self._executor.session_s

    @property
    def failure(self) -> str | None:
        """Why the engine is broken for good, in one sentence, or None."""
        with self._changed:
            return self._failure

    def close(self) -> None:
        """Stop after the current step; requests still here end as cancelled."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._grammars.close()

    def _waits(self, request_id: str, sequence: ActiveSequence) -> bool:
        """Whether a request still waits for its grammar."""
        with self._changed:
            return self._compiling.get(request_id) is sequence

    def _compiled(self, request_id: str, sequence: ActiveSequence, outcome: Outcome) -> None:
        """Queue a request whose grammar is compiled, unless it was cancelled meanwhile."""
        with self._changed:
            if not self._waits(request_id, sequence):
                return
            del self._compiling[request_id]
            if isinstance(outcome, Matcher):
                sequence.matcher = outcome
                self._join(request_id, sequence)
            else:
                self._ended.append((sequence, outcome))
                self._changed.notify()

    def _join(self, request_id: str, sequence: ActiveSequence) -> None:
        self._sequences[request_id] = sequence
        prompt = np.array(sequence.prompt_token_ids, dtype=np.int64)
        self._scheduler.join(request_id, prompt, sequence.sampling.max_tokens)
        self._changed.notify()

    def _serve(self) -> None:
        try:
            while self._wait_for_work():
                self._step()
        finally:
            # Whatever went wrong is told to every client here, and goes on to threading.excepthook.
            self._end(sys.exception())

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._sequences or self._ended or self._closing)
            return not self._closing

    def _step(self) -> None:
        self._tell_ended()
        self._end_cancelled()
        rows = self._scheduler.rows()
        draft_lengths = self._draft_lengths(rows)
        if any(draft_lengths):
            for row, length in zip(rows, draft_lengths, strict=True):
                self._decode_along(row, length)
        elif rows:
            self._decode(rows)
        self._prefill(self._pace.budget(decoding=bool(rows)))

    def _tell_ended(self) -> None:
        """Tell the clients of requests that ended before they were queued."""
        with self._changed:
            ended, self._ended = self._ended, []
        for sequence, event in ended:
            sequence.on_event(event)
        if ended and self._after_step:
            self._after_step()

    def _end_cancelled(self) -> None:
        with self._changed:
            cancelled = list(self._cancelled)
        if cancelled:
            self._deliver((request_id, Delta(finish_reason="cancelled")) for request_id in cancelled)

    def _decode(self, rows: Sequence[Row]) -> None:
        start = time.perf_counter()
        sequences = [self._sequences[row.request_id] for row in rows]
        last_tokens = [sequence.output[-1] for sequence in sequences]
        self._grammars.masks.ahead([sequence.matcher for sequence in sequences if sequence.matcher])
        logits_of_rows = self._executor.decode([row.slot for row in rows], last_tokens)
        self._deliver(
            (row.request_id, sequence.advance(logits))
            for row, sequence, logits in zip(rows, sequences, logits_of_rows, strict=True)
        )
        seconds = time.perf_counter() - start
        self._pace.decoded(seconds)
        self._draft_length.measured(len(rows), seconds)

    def _draft_lengths(self, rows: Sequence[Row]) -> list[int]:
        """How many tokens to draft for each row; none at all where it does not pay."""
        if not (self._speculates and 0 < len(rows) <= MOST_EXTENDED):
            return []
        return self._draft_length.choose(
            [self._sequences[row.request_id].chances(MOST_ROWS - 1) for row in rows]
        )

    def _decode_along(self, row: Row, length: int) -> None:
        """Decode one row's next token and, in the same pass, those after a draft of so many tokens."""
        start = time.perf_counter()
        sequence = self._sequences[row.request_id]
        draft = sequence.draft(length)
        logits = self._executor.extend(row.slot, [sequence.output[-1], *draft])
        delta, taken = sequence.follow(draft, logits)
        self._executor.rewind(row.slot, len(logits) - taken)
        with self._changed:
            self._drafted += length
            self._accepted += taken - 1
        self._deliver([(row.request_id, delta)])
        self._draft_length.measured(1 + length, time.perf_counter() - start)

    def _prefill(self, budget: int) -> None:
        """Read some `budget` tokens of waiting prompts; each whose end is reached gets its first token."""
        left = budget
        # A pass over what little is left would cost about as much as one over all of a budget.
        while left >= max(SMALLEST_BUDGET, budget // 2):
            with self._changed:
                place = self._scheduler.admit()
                chunk = self._scheduler.chunk(left)
            if place:
                self._prepare(place)
            if chunk is None:
                return
            self._read(chunk)
            left -= chunk.stop - chunk.start
            self._end_cancelled()

    def _prepare(self, place: Place) -> None:
        """Make the slot of an admitted request hold what it can use, and give back what it displaces."""
        if place.source == place.slot:
            self._executor.release(place.slot, place.cached)
        else:
            self._executor.copy(place.source, place.slot, place.cached)
        for slot, length in place.cuts:
            self._executor.release(slot, length)

    def _read(self, chunk: Chunk) -> None:
        start = time.perf_counter()
        sequence = self._sequences[chunk.request_id]
        logits = self._executor.prefill(chunk.slot, sequence.prompt_token_ids[chunk.start : chunk.stop])
        self._pace.prefilled(chunk.stop - chunk.start, time.perf_counter() - start)
        if chunk.last:
            first = replace(sequence.advance(logits), cached_tokens=chunk.cached)
            self._deliver([(chunk.request_id, first)])

    def _deliver(self, deltas: Iterable[tuple[str, Delta]]) -> None:
        """Hand each delta to its client; a request that ends has left its slot before the client hears."""
        for request_id, delta in deltas:
            sequence = self._sequences[request_id]
            self._generated += delta.token_count
            if delta.finish_reason:
                self._leave(request_id)
            sequence.on_event(sequence.refusal or delta)
        if self._after_step:
            self._after_step()

    def _leave(self, request_id: str) -> None:
        with self._changed:
            del self._sequences[request_id]
            self._cancelled.discard(request_id)
            cuts = self._scheduler.leave(request_id)
        for slot, length in cuts:
            self._executor.release(slot, length)

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._closing = True
            if error is not None:
                self._failure = (
                    f"Engine {self.manifest.name} stopped in the middle of a step ({error}); start it again."
                )
            left = [*self._sequences.values(), *self._compiling.values()]
            self._compiling.clear()
            for request_id in self._sequences:
                self._scheduler.leave(request_id)
            self._sequences.clear()
        # None can be added from here on.
        self._tell_ended()
        for sequence in left:
            sequence.on_event(
                EngineFailed(self._failure) if self._failure else Delta(finish_reason="cancelled")
            )
        if self._after_step:
            self._after_step()
