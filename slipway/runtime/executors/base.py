"""The protocol of executors, which run the forward pass, and their capabilities."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from slipway.runtime.kv_cache import FloatArray
from slipway.runtime.slots import Cut, Place

# Tokens of one sequence in a pass. Later draft tokens are rarely right, and a page of the cache counts in the
# process's RSS once for every row that reads it.
MAX_ROWS = 16
# Slots extended at the same time: each takes MAX_ROWS mappings per buffer, and a process has 65,530.
MAX_EXTENDED_SLOTS = 4


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an executor can do beside the basic operations.

    appends: prompt tokens can follow the tokens in a slot, so a prompt may be read in chunks and after a
        cached prefix. copies: a slot can take over the content of another one.
    reserves: a slot takes memory for a sequence of full length when it is first used, on the executor's own
        device; else this machine's memory, as it fills.
    extends: several tokens of a sequence can be decoded in one pass, and some of them taken back.
    extends_together: such a pass takes any number of sequences; else one.
    prompt_logits: a prompt can be read with the logits after each of its tokens.
    pages: the KV cache has pages, which several sequences may share; else each slot has memory of its own.
    notes: what the kernels of this machine do not allow, a sentence each.
    """

    appends: bool
    copies: bool
    reserves: bool
    extends: bool
    prompt_logits: bool
    extends_together: bool = False
    pages: bool = False
    notes: tuple[str, ...] = ()


class Executor(Protocol):
    """The forward pass over slots; each slot holds one sequence. One thread drives it.

    A row's logits do not depend on the other slots.
    """

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of this executor."""

    @property
    def session_s(self) -> float:
        """Seconds spent inside the library so far."""

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of one token."""

    def prefill(self, slot: int, token_ids: Sequence[int]) -> FloatArray:
        """Append a prompt to an empty slot, or a chunk to the tokens in the slot if the executor appends.

        Returns the logits after its last token, float32 [vocab], valid until the next call.
        """

    def prefill_each(self, slot: int, token_ids: Sequence[int]) -> FloatArray:
        """Append part of a prompt as `prefill` does; for executors with prompt logits.

        Returns the logits after each of its tokens, float32 [tokens, vocab].
        """

    def decode(self, slots: Sequence[int], token_ids: Sequence[int]) -> list[FloatArray]:
        """Append one token to each of `slots`, which ascend.

        Returns the logits after it for each, float32 [vocab], valid until the next call.
        """

    def extend(self, slots: Sequence[int], token_ids: Sequence[Sequence[int]]) -> list[list[FloatArray]]:
        """Append up to MAX_ROWS tokens to each of `slots` in one pass; for executors that extend.

        slots: one, where the executor does not extend several together.
        Returns the logits after each token, float32 [vocab], valid until the next call, equal to those that
        `decode` gives one by one.
        """

    def rewind(self, slot: int, count: int) -> None:
        """Take back the last `count` tokens of a slot; for executors that extend or have prompt logits."""

    def release(self, slot: int, keep: int = 0) -> None:
        """Forget all but the first `keep` tokens of a slot."""

    def start(self, place: Place) -> None:
        """Make the slot of a starting request hold what its place says."""

    def free(self, cuts: Sequence[Cut]) -> None:
        """Give memory back that requests no longer need."""


class SlotMemory(ABC):
    """The places of requests in an executor whose slots have memory of their own."""

    @abstractmethod
    def copy(self, source: int, slot: int, length: int) -> None:
        """Copy the first `length` tokens of another slot into this one; for executors that copy."""

    @abstractmethod
    def release(self, slot: int, keep: int = 0) -> None:
        """Forget all but the first `keep` tokens of a slot."""

    def start(self, place: Place) -> None:
        """Put the cached prefix into the slot, and cut the slots that make room."""
        if place.source == place.slot:
            self.release(place.slot, place.cached)
        else:
            self.copy(place.source, place.slot, place.cached)
        self.free(place.cuts)

    def free(self, cuts: Sequence[Cut]) -> None:
        """Cut slots."""
        for slot, keep in cuts:
            self.release(slot, keep)
