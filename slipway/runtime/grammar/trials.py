"""Grammars are tried in processes of their own, and what was refused is remembered."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar
from slipway.runtime.grammar.matcher import refused
from slipway.runtime.isolated.pool import ProcessPool
from slipway.runtime.isolated.process import PATIENCE_S, Stopped

_MAX_REFUSED = 1024
# A busy machine may refuse what it compiles later.
_REFUSED_S = 600.0


class Trials:
    """Tries grammars. Call from as many threads as the pool has processes."""

    def __init__(self, directory: Path, vocab_size: int, eos_token_ids: Sequence[int]) -> None:
        opening = {
            "directory": str(directory),
            "vocab_size": vocab_size,
            "eos_token_ids": list(eos_token_ids),
        }
        self._pool = ProcessPool("slipway.runtime.grammar.trial", opening)
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
            self._ask(grammar)
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
        return bool(self._ask(grammar, answer))

    def close(self) -> None:
        """End the processes."""
        self._pool.close()

    def _ask(self, grammar: Grammar, answer: str | None = None) -> Any:
        try:
            return self._pool.ask({"kind": grammar.kind, "text": grammar.text, "answer": answer})
        except Stopped:
            reason = f"it is too complex to compile within {PATIENCE_S:g} s"
            raise refused(grammar, reason) from None

    def _remember(self, grammar: Grammar, reason: str) -> None:
        with self._lock:
            self._refused[_digest(grammar)] = reason, time.monotonic() + _REFUSED_S
            if len(self._refused) > _MAX_REFUSED:
                self._refused.popitem(last=False)


def _digest(grammar: Grammar) -> bytes:
    return sha256(f"{grammar.kind}\n{grammar.text}".encode("utf-8", "surrogatepass")).digest()
