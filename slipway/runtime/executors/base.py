"""What an executor does, and what it says that it cannot do; asked by `engine`, chosen by `executors`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from slipway.runtime.kv_cache import FloatArray

# Most tokens of one sequence in a pass. Later drafts are hardly ever still right, and a page of the cache
# that is read through every row counts so often in the process's RSS.
MAX_ROWS = 16
# Slots that are extended in turn: each takes MAX_ROWS mappings per buffer, of the 65,530 that a process has.
MAX_EXTENDED_SLOTS = 4


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the scheduler may plan with.

    appends: prompt tokens can follow what a slot holds, so a prompt may be read in chunks, and a prefix that
        is kept need not be read again. copies: a slot can take over what another one holds.
    reserves: a slot takes memory for a sequence of full length when it is first used, on the executor's own
        device; else this machine's memory, as it fills.
    extends: several tokens of a sequence can be decoded in one pass, and some of them taken back.
    """

    appends: bool
    copies: bool
    reserves: bool
    extends: bool


class Executor(Protocol):
    """The forward pass over slots, each of which holds one sequence. One thread drives it.

    A row's logits are the same whoever else is in the slots.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do beside the rest of this."""

    @property
    def session_s(self) -> float:
        """Seconds spent inside the library so far."""

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of one token."""

    def prefill(self, slot: int, token_ids: Sequence[int]) -> FloatArray:
        """Append a prompt to an empty slot, or where it appends a chunk to what the slot holds.

        Returns the logits after its last token, float32 [vocab], valid until the next call.
        """

    def decode(self, slots: Sequence[int], token_ids: Sequence[int]) -> list[FloatArray]:
        """Append one token to each of `slots`, which ascend.

        Returns the logits after it for each, float32 [vocab], valid until the next call.
        """

    def extend(self, slot: int, token_ids: Sequence[int]) -> list[FloatArray]:
        """Append up to MAX_ROWS tokens to what a slot holds, in one pass, where it extends.

        Returns the logits after each, float32 [vocab], valid until the next call: what `decode` gives for
        them one by one.
        """

    def rewind(self, slot: int, count: int) -> None:
        """Take back the last `count` tokens of a slot, where it extends."""

    def copy(self, source: int, slot: int, length: int) -> None:
        """Make a slot hold the first `length` tokens of another one, where it copies."""

    def release(self, slot: int, keep: int = 0) -> None:
        """Forget all but the first `keep` tokens of a slot."""
