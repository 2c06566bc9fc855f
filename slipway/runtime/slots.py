"""The content of every KV slot and the slot for each request: the prefix cache, as plain data."""

from collections.abc import Sequence
from itertools import starmap
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int64]

# A pass over one token sums in another order than a longer one, so its bits differ; a prompt of two or more
# tokens is never read in such a pass, and its answer depends neither on where chunks ended nor on the cache.
MIN_CHUNK = 2
# Every chat of a model starts with the same few tokens, which are read as fast as copied.
_MIN_PREFIX = 16
# A forward pass costs about as much as three of its rows (SmolLM2-135M int4, 2 cores: 3.0 ms + 1.0 ms a
# row), so computing up to two idle slots between two running ones is cheaper than a second pass, unless
# attention over what they hold costs as much as a row.
_BRIDGED_IDLE_SLOTS = 2
_BRIDGED_IDLE_TOKENS = 512
_NOTHING: TokenIds = np.empty(0, dtype=np.int64)


class Cut(NamedTuple):
    """A slot, or a page, that holds fewer tokens from now on: the first `keep`."""

    place: int
    keep: int


class Place(NamedTuple):
    """The slot of a request, and where the first `cached` tokens of its prompt lie already.

    source: the slot to copy them from; the same slot when they are in place.
    cuts: the slots whose content is cut to make room; after the copy.
    pages: of the slot, where the KV cache has pages.
    """

    slot: int
    source: int
    cached: int
    cuts: tuple[Cut, ...] = ()
    pages: tuple[int, ...] = ()


class Places(Protocol):
    """Memory for the keys and values of requests."""

    def take(self, prompt: TokenIds, need: int, use_cache: bool = True) -> Place | None:
        """Give a prompt memory for `need` tokens, with its answer; None where there is not enough now.

        use_cache: whether the prompt may begin with tokens that were read before.
        """

    def leave(self, slot: int, read: int) -> list[Cut]:
        """Take the request out of a slot; it has read the first `read` tokens of its prompt.

        Returns what is to be cut.
        """


class Slots:
    """The prompts whose keys and values lie in the slots, running or finished.

    A running request has memory for its longest answer, so it never has to give way to another one.
    A finished prompt stays until its slot is taken, or until the idle slots together hold too much; then the
    least recently used goes first. Tokens of answers are not kept: decode gave them other bits than a
    prompt's (MIN_CHUNK says why), and an answer must be the same with the cache as without.
    """

    def __init__(self, count: int, tokens: int, idle_tokens: int, copies: bool = True) -> None:
        """tokens: that fit into memory. idle_tokens: upper bound for idle slots together.

        copies: whether a slot can take over the content of another one.
        """
        self.count = count
        self.tokens = tokens
        self._copies = copies
        self._idle_tokens = idle_tokens
        self._reserved: dict[int, int] = {}
        self._held = [_NOTHING] * count
        self._used = [0] * count
        self._clock = 0

    def take(self, prompt: TokenIds, need: int, use_cache: bool = True) -> Place | None:
        """Give a prompt an idle slot, if there is one and memory; its old content beside `cached` is lost.

        need: upper bound for the tokens of prompt and answer. use_cache: whether the prompt may begin with
            tokens that were read before.
        Running slots decode in one pass if they are neighbours, so a neighbour comes first; then a slot that
        holds the prefix and little else, an empty slot, the least recently used one.
        """
        idle = self._idle()
        if not idle or sum(self._reserved.values()) + need > self.tokens:
            return None
        longest = len(prompt) - MIN_CHUNK if use_cache else 0
        shared = [min(_common(held, prompt), longest) for held in self._held]
        sources = self._sources(idle, shared)
        cached = max((shared[slot] for slot in sources), default=0)
        if cached < _MIN_PREFIX:
            cached = 0

        def rank(slot: int) -> tuple[int, bool, int, int]:
            held = len(self._held[slot])
            fits = shared[slot] >= cached and held < cached + _MIN_PREFIX
            ranges = spans(sorted({*self._reserved, slot}), [len(other) for other in self._held])
            rows = sum(stop - start for start, stop in ranges)
            return len(ranges), not fits, self._used[slot] if held else 0, rows

        in_place = cached > 0 and not self._copies
        slot = min([slot for slot in sources if shared[slot] == cached] if in_place else idle, key=rank)
        source = slot
        if cached and shared[slot] != cached:
            source = max(sources, key=lambda slot: shared[slot])
        self._touch(source)
        self._reserved[slot] = need
        self._held[slot] = prompt
        return Place(slot, source, cached, tuple(starmap(Cut, self._evict().items())))

    def leave(self, slot: int, read: int) -> list[Cut]:
        """Make a slot idle, with the first `read` tokens of its prompt in it. Returns the slots to cut."""
        del self._reserved[slot]
        self._touch(slot)
        kept = min(read, self._idle_tokens)
        self._held[slot] = self._held[slot][: kept if kept >= _MIN_PREFIX else 0]
        return list(starmap(Cut, ({slot: len(self._held[slot])} | self._evict()).items()))

    def _sources(self, idle: Sequence[int], shared: Sequence[int]) -> Sequence[int]:
        """The slots whose prefix a prompt may use: without copies, idle ones that lose little."""
        if self._copies:
            return range(self.count)
        return [slot for slot in idle if 2 * shared[slot] >= len(self._held[slot])]

    @property
    def idle_tokens(self) -> int:
        """Tokens that idle slots hold at this moment."""
        return sum(len(self._held[slot]) for slot in self._idle())

    def _idle(self) -> list[int]:
        return [slot for slot in range(self.count) if slot not in self._reserved]

    def _evict(self) -> dict[int, int]:
        """Empty the least recently used idle slots until the others fit; returns them, each with 0 tokens."""
        room = min(self._idle_tokens, self.tokens - sum(self._reserved.values()))
        excess = self.idle_tokens - room
        emptied = {}
        for oldest in sorted(self._idle(), key=lambda slot: self._used[slot]):
            if excess > 0 and len(self._held[oldest]):
                excess -= len(self._held[oldest])
                self._held[oldest] = _NOTHING
                emptied[oldest] = 0
        return emptied

    def _touch(self, slot: int) -> None:
        self._clock += 1
        self._used[slot] = self._clock


def spans(rows: Sequence[int], held: Sequence[int] | NDArray[np.int64]) -> list[tuple[int, int]]:
    """The cheapest ranges [start, stop) that cover the ascending slots `rows`: one forward pass each.

    held: tokens in every slot; an idle one inside a range is computed over them.
    """
    ranges: list[tuple[int, int]] = []
    for row in rows:
        if ranges and _bridges(held[ranges[-1][1] : row]):
            ranges[-1] = (ranges[-1][0], row + 1)
        else:
            ranges.append((row, row + 1))
    return ranges


def _bridges(idle: Sequence[int] | NDArray[np.int64]) -> bool:
    return len(idle) <= _BRIDGED_IDLE_SLOTS and sum(idle) <= _BRIDGED_IDLE_TOKENS


def _common(held: TokenIds, prompt: TokenIds) -> int:
    """Length of the common prefix."""
    length = min(len(held), len(prompt))
    different = np.flatnonzero(held[:length] != prompt[:length])
    return int(different[0]) if len(different) else length
