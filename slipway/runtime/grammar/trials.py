"""Several processes that try grammars at the same time, and what they refused."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from queue import LifoQueue

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar
from slipway.runtime.grammar.trial import Trial

# Each is a process of about 100 MB, started when the others are busy.
TRIALS = 2
_MAX_REFUSED = 1024
# A busy machine may refuse what it compiles later.
_REFUSED_S = 600.0


class Trials:
    """Tries grammars in up to TRIALS processes. Call from as many threads as there are processes."""

    def __init__(self, directory: Path, vocab_size: int, eos_token_ids: Sequence[int]) -> None:
        self._all = [Trial(directory, vocab_size, eos_token_ids) for _ in range(TRIALS)]
        # The one used last comes first, because it runs already.
        self._free: LifoQueue[Trial] = LifoQueue()
        for trial in reversed(self._all):
            self._free.put(trial)
        self._lock = threading.Lock()
        # By digest, because a grammar may be long: the reason, and until when it counts.
        self._refused: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def check(self, grammar: Grammar) -> None:
        """Raise InvalidRequest unless the grammar compiles in time, EngineFailed when a process fails.

        A grammar that was refused lately is refused at once.
        """
        refusal = self.refusal(grammar)
        if refusal is not None:
            raise refusal
        try:
            with self._trial() as trial:
                trial.check(grammar)
        except InvalidRequest as error:
            self._remember(grammar, str(error))
            raise

    def refusal(self, grammar: Grammar) -> InvalidRequest | None:
        """The error for a grammar that was refused lately; None for any other."""
        with self._lock:
            reason, until = self._refused.get(_digest(grammar), ("", 0.0))
        return InvalidRequest(reason, param="grammar") if time.monotonic() < until else None

    def ends(self, grammar: Grammar, answer: str) -> bool:
        """Whether `answer` matches the grammar and nothing can follow it. Errors as for `check`."""
        with self._trial() as trial:
            return trial.ends(grammar, answer)

    def close(self) -> None:
        """End the processes."""
        for trial in self._all:
            trial.close()

    @contextmanager
    def _trial(self) -> Iterator[Trial]:
        trial = self._free.get()
        try:
            yield trial
        finally:
            self._free.put(trial)

    def _remember(self, grammar: Grammar, reason: str) -> None:
        with self._lock:
            self._refused[_digest(grammar)] = reason, time.monotonic() + _REFUSED_S
            if len(self._refused) > _MAX_REFUSED:
                self._refused.popitem(last=False)


def _digest(grammar: Grammar) -> bytes:
    return sha256(f"{grammar.kind}\n{grammar.text}".encode("utf-8", "surrogatepass")).digest()
