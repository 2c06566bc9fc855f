"""Compiles grammars to matchers in threads of its own."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llguidance import LLTokenizer

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import Grammar
from slipway.contract.manifest import Manifest
from slipway.runtime.grammar.matcher import Masks, Matcher, compiled, load_tokenizer
from slipway.runtime.grammar.trial import STACK_BYTES
from slipway.runtime.grammar.trials import Trials
from slipway.runtime.isolated.pool import PROCESSES

# At most a few megabytes each; an application uses a handful.
_KEPT = 32

Outcome = Matcher | SlipwayError


class GrammarCompiler:
    """Compiles in threads and caches the grammars used last; loads nothing before the first grammar."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.masks = Masks(manifest.vocab_size, manifest.eos_token_ids)
        self._vocabulary = (directory, manifest.vocab_size, manifest.eos_token_ids)
        self._tokenizer: LLTokenizer | None = None
        self._trials = Trials(*self._vocabulary)
        self._threads: ThreadPoolExecutor | None = None
        # Guards the kept grammars: the submitting thread copies them, a compiling one adds.
        self._lock = threading.Lock()
        # Several grammars are tried at once, but only one is compiled here.
        self._compiling = threading.Lock()
        self._kept: OrderedDict[Grammar, Matcher] = OrderedDict()

    def start(self, grammar: Grammar, wanted: Callable[[], bool], done: Callable[[Outcome], None]) -> None:
        """Call `done` with a matcher at the start of `grammar`, or with the error.

        That happens at once if the grammar is cached or was refused lately. Else it comes from a compiling
        thread, and not at all if it is not `wanted` any more then. Call from one thread at a time.
        """
        known = self._known(grammar) or self._trials.refusal(grammar)
        if known is not None:
            done(known)
            return
        if self._threads is None:
            self._threads = _deep_threads()
        self._threads.submit(lambda: done(self._outcome(grammar)) if wanted() else None)

    def close(self) -> None:
        """End the threads and the processes. A running compilation is finished first."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        self._trials.close()
        self.masks.close()

    def _outcome(self, grammar: Grammar) -> Outcome:
        try:
            return self._known(grammar) or self._compile(grammar)
        except SlipwayError as error:
            return error

    def _known(self, grammar: Grammar) -> Matcher | None:
        with self._lock:
            if grammar not in self._kept:
                return None
            self._kept.move_to_end(grammar)
            return self._kept[grammar].copy()

    def _compile(self, grammar: Grammar) -> Matcher:
        if not grammar.tried:
            self._trials.check(grammar)
        with self._compiling:
            if self._tokenizer is None:
                self._tokenizer = load_tokenizer(*self._vocabulary)
            matcher = Matcher(grammar, compiled(grammar, self._tokenizer), self.masks)
            self.masks.compute([matcher])
        with self._lock:
            self._kept[grammar] = matcher
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return matcher.copy()


def _deep_threads() -> ThreadPoolExecutor:
    """Threads with a stack large enough for every grammar that passed the trial."""
    before = threading.stack_size(2 * STACK_BYTES)
    try:
        executor = ThreadPoolExecutor(PROCESSES, thread_name_prefix="grammar compiler")
        started = threading.Barrier(PROCESSES)
        for waiting in [executor.submit(started.wait) for _ in range(PROCESSES)]:
            waiting.result()
    finally:
        threading.stack_size(before)
    return executor
