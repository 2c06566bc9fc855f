"""The engine: in-flight batching in one thread."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from slipway.contract.errors import EngineFailed
from slipway.contract.generation import Delta, SamplingParams
from slipway.contract.manifest import open_engine
from slipway.runtime.cpu import physical_cores
from slipway.runtime.draft_length import DraftLength
from slipway.runtime.executors.base import MAX_EXTENDED_SLOTS, MAX_ROWS
from slipway.runtime.executors.choice import open_executor
from slipway.runtime.grammar.compiler import GrammarCompiler
from slipway.runtime.kv_cache import FloatArray
from slipway.runtime.memory import DEFAULT_CACHE_BYTES, places_within_memory
from slipway.runtime.prefill_budget import MIN_BUDGET, PrefillBudget
from slipway.runtime.requests import Requests
from slipway.runtime.scheduler import Chunk, Row, Scheduler
from slipway.runtime.sequence import ActiveSequence, OnEvent
from slipway.runtime.slots import MIN_CHUNK
from slipway.runtime.stats import EngineStats
from slipway.runtime.validation import check_request


class Engine:
    """A built engine, loaded and running in a thread of its own.

    Each step decodes one token of every running request, then reads waiting prompts into free slots, in
    chunks and within a budget of tokens. So requests join and leave between steps, no request waits for
    another one to finish, and a long prompt does not hold up the running streams.
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
            the engine failed; it must not raise.
        cache_bytes: memory for the prompts of finished requests, so that later requests with the same prefix
            need not read it again; 0 keeps none.
        on_cpu: run an engine built for a GPU on the CPU, slowly, to try it.
        speculation: draft tokens of answers that repeat their context and check several in one pass, where
            that is faster. The answers stay the same.
        Raises EngineRefused for an engine that must not be served.
        """
        self.manifest = open_engine(directory)
        limits, threads = self.manifest.limits, threads or physical_cores()
        self._executor = open_executor(
            directory, self.manifest, limits.max_batch_size, limits.max_seq_len, threads, on_cpu
        )
        self._grammars = GrammarCompiler(directory, self.manifest)
        self._prefill_budget = PrefillBudget()
        self._draft_length = DraftLength()
        self._speculates = speculation and self._executor.capabilities.extends
        self._generated = self._drafted = self._accepted = 0
        self._pass_began: float | None = None
        self._after_step = after_step
        places = places_within_memory(self.manifest, self._executor, cache_bytes)
        scheduler = Scheduler(places, self._executor.capabilities.appends)
        self._requests = Requests(self.manifest.name, scheduler, self._grammars)
        self._thread = threading.Thread(target=self._serve, name=f"engine {self.manifest.name}", daemon=True)
        self._thread.start()

    def submit(
        self, request_id: str, prompt_token_ids: Sequence[int], sampling: SamplingParams, on_event: OnEvent
    ) -> None:
        """Queue a request, once its grammar is compiled if it has one.

        on_event is called from the engine's thread, must not block and must not raise. Its last event is a
        Delta with a finish_reason, or an error. A grammar that cannot be used is such an error.
        Raises InvalidRequest or ContextLengthExceeded when the request cannot be served, EngineFailed when
        the engine failed or is closed.
        """
        prompt_logits = self._executor.capabilities.prompt_logits
        check_request(prompt_token_ids, sampling, self.manifest, prompt_logits)
        sequence = ActiveSequence(prompt_token_ids, sampling, self.manifest.eos_token_ids, on_event)
        self._requests.add(request_id, sequence)

    def cancel(self, request_id: str) -> bool:
        """End a request, running or waiting, before the next step; False if there is none with this id.

        Its last event then has finish_reason "cancelled", unless it ends by itself first.
        """
        return self._requests.cancel(request_id)

    @property
    def stats(self) -> EngineStats:
        """As of this moment."""
        running, waiting = self._requests.counts()
        return EngineStats(
            running=running,
            waiting=waiting,
            slots=self.manifest.limits.max_batch_size,
            generated_tokens=self._generated,
            draft_tokens=self._drafted,
            accepted_tokens=self._accepted,
        )

    @property
    def session_s(self) -> float:
        """Seconds spent in forward passes inside the executor's library so far."""
        return self._executor.session_s

    @property
    def notes(self) -> tuple[str, ...]:
        """What the kernels of this machine do not allow, a sentence each."""
        return self._executor.capabilities.notes

    @property
    def pass_s(self) -> float:
        """Seconds that the forward pass has taken that runs now; 0 if none does."""
        began = self._pass_began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def failure(self) -> str | None:
        """Why the engine failed, in one sentence; None while it works."""
        return self._requests.failure

    def close(self) -> None:
        """Stop after the current step; requests that have not ended end as cancelled."""
        self._requests.close()
        self._thread.join()
        self._grammars.close()

    def _serve(self) -> None:
        try:
            while self._requests.wait():
                self._step()
                self._pass_began = None
        finally:
            # Every client gets the error here, and threading.excepthook gets it afterwards.
            self._end(sys.exception())

    def _step(self) -> None:
        self._pass_began = time.monotonic()
        self._send_ended()
        self._end_cancelled()
        rows = self._requests.rows()
        draft_lengths = self._draft_lengths(rows)
        if any(draft_lengths):
            drafting = list(zip(rows, draft_lengths, strict=True))
            together = self._executor.capabilities.extends_together
            for group in [drafting] if together else [[each] for each in drafting]:
                self._decode_drafts(group)
        elif rows:
            self._decode(rows)
        self._prefill(self._prefill_budget.tokens(decoding=bool(rows)))

    def _send_ended(self) -> None:
        """Send the last events of requests that ended before they were queued."""
        ended = self._requests.take_ended()
        for sequence, event in ended:
            sequence.on_event(event)
        if ended and self._after_step:
            self._after_step()

    def _end_cancelled(self) -> None:
        cancelled = self._requests.cancelled()
        if cancelled:
            self._deliver((request_id, Delta(finish_reason="cancelled")) for request_id in cancelled)

    def _decode(self, rows: Sequence[Row]) -> None:
        start = time.perf_counter()
        sequences = [self._requests[row.request_id] for row in rows]
        last_tokens = [sequence.output[-1] for sequence in sequences]
        self._grammars.masks.compute_ahead([sequence.matcher for sequence in sequences if sequence.matcher])
        logits_of_rows = self._executor.decode([row.slot for row in rows], last_tokens)
        self._deliver(
            (row.request_id, sequence.advance(logits))
            for row, sequence, logits in zip(rows, sequences, logits_of_rows, strict=True)
        )
        seconds = time.perf_counter() - start
        self._prefill_budget.add_decode(seconds)
        self._draft_length.add(len(rows), seconds)

    def _draft_lengths(self, rows: Sequence[Row]) -> list[int]:
        """How many tokens to draft for each row; empty or all 0 where drafting does not pay."""
        together = self._executor.capabilities.extends_together
        if not (self._speculates and rows) or (len(rows) > MAX_EXTENDED_SLOTS and not together):
            return []
        chances = [self._requests[row.request_id].chances(MAX_ROWS - 1) for row in rows]
        return self._draft_length.choose(chances, together)

    def _decode_drafts(self, rows: Sequence[tuple[Row, int]]) -> None:
        """Decode each row's next token and, in the same pass, a draft behind it.

        rows: each with the number of tokens of its draft.
        """
        start = time.perf_counter()
        self._pass_began = time.monotonic()
        sequences = [self._requests[row.request_id] for row, _ in rows]
        drafts = [sequence.draft(length) for sequence, (_, length) in zip(sequences, rows, strict=True)]
        tokens = [[each.output[-1], *draft] for each, draft in zip(sequences, drafts, strict=True)]
        logits_of_rows = self._executor.extend([row.slot for row, _ in rows], tokens)
        deltas = []
        for (row, _), sequence, draft, logits in zip(rows, sequences, drafts, logits_of_rows, strict=True):
            delta, taken = sequence.accept(draft, logits)
            self._executor.rewind(row.slot, len(logits) - taken)
            self._drafted += len(draft)
            self._accepted += taken - 1
            deltas.append((row.request_id, delta))
        self._deliver(deltas)
        self._draft_length.add(sum(map(len, tokens)), time.perf_counter() - start)

    def _prefill(self, budget: int) -> None:
        """Read about `budget` tokens of waiting prompts; a prompt read to its end gives the first token."""
        left = budget
        # A pass over a small rest would cost about as much as a pass over a whole budget.
        while left >= max(MIN_BUDGET, budget // 2):
            place, chunk = self._requests.next_chunk(left)
            if place:
                self._executor.start(place)
            if chunk is None:
                return
            self._read(chunk)
            left -= chunk.stop - chunk.start
            self._end_cancelled()

    def _read(self, chunk: Chunk) -> None:
        start = time.perf_counter()
        self._pass_began = time.monotonic()
        sequence = self._requests[chunk.request_id]
        logits = self._logits_after(chunk, sequence)
        self._prefill_budget.add_prefill(chunk.stop - chunk.start, time.perf_counter() - start)
        if sequence.refusal:
            self._deliver([(chunk.request_id, Delta(finish_reason="cancelled"))])
        elif chunk.last:
            self._deliver([(chunk.request_id, sequence.begin(logits, chunk.cached))])

    def _logits_after(self, chunk: Chunk, sequence: ActiveSequence) -> FloatArray:
        """Read a chunk, and score its tokens where the request asks for it."""
        tokens = sequence.prompt_token_ids[chunk.start : chunk.stop]
        if sequence.scores is None or len(tokens) < MIN_CHUNK:
            return self._executor.prefill(chunk.slot, tokens)
        logits = self._executor.prefill_each(chunk.slot, tokens)
        sequence.score(logits)
        if not chunk.last or not sequence.sampling.max_tokens:
            last: FloatArray = logits[-1]
            return last
        # The last logits again, as a prompt without scores gets them: the answer must be the same to the bit.
        self._executor.rewind(chunk.slot, MIN_CHUNK)
        return self._executor.prefill(chunk.slot, tokens[-MIN_CHUNK:])

    def _deliver(self, deltas: Iterable[tuple[str, Delta]]) -> None:
        """Send each delta to its client; a request that ends leaves its slot before its last event."""
        for request_id, delta in deltas:
            sequence = self._requests[request_id]
            self._generated += delta.token_count
            if delta.finish_reason:
                self._executor.free(self._requests.leave(request_id))
            sequence.on_event(sequence.refusal or delta)
        if self._after_step:
            self._after_step()

    def _end(self, error: BaseException | None) -> None:
        failure = None
        if error is not None:
            failure = (
                f"Engine {self.manifest.name} stopped in the middle of a step ({error}); start it again."
            )
        left = self._requests.end(failure)
        self._send_ended()
        for sequence in left:
            sequence.on_event(EngineFailed(failure) if failure else Delta(finish_reason="cancelled"))
        if self._after_step:
            self._after_step()
