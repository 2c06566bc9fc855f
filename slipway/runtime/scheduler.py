"""Which request runs next, as plain data: the queue, the slots, and the prompt being read."""

from collections import deque
from typing import NamedTuple

from slipway.runtime.slots import Cut, Place, Places, TokenIds

# The longest pass over a prompt, but for its end: a cancelled request is noticed between two passes. Longer
# passes are hardly faster (SmolLM2-135M, 2 cores: 128 tokens 1,330 to 1,440 tokens/s, 512 tokens 1,200 to
# 1,470).
MAX_CHUNK = 128
# The same for a prompt whose tokens are scored: a pass then has the logits after each token, which for the
# largest vocabularies are 0.6 MB.
MAX_SCORED_CHUNK = 32


class Row(NamedTuple):
    """A running request and its slot."""

    request_id: str
    slot: int


class Request(NamedTuple):
    """A prompt, the most tokens that prompt and answer may have together, and how the prompt is read.

    scored: with the logits after each token. So none of it may come from the cache.
    """

    prompt: TokenIds
    need: int
    scored: bool


class Chunk(NamedTuple):
    """Prompt tokens [start, stop) of a request, to be read into its slot.

    last: whether the prompt ends there. cached: how many of its first tokens came from the cache.
    """

    request_id: str
    slot: int
    start: int
    stop: int
    last: bool
    cached: int


class Scheduler:
    """First come, first served; one request per slot, each with memory for its longest answer.

    A request joins the queue, gets a slot when one is idle, has its prompt read chunk by chunk, is then a row
    of every decode batch, and may leave at any time. One prompt is read at a time.
    """

    def __init__(self, places: Places, in_chunks: bool = True) -> None:
        """in_chunks: whether a prompt may be read in parts; else a long prompt holds up running requests."""
        self.places = places
        self._in_chunks = in_chunks
        self.waiting: deque[str] = deque()
        self.running: dict[str, int] = {}
        self._requests: dict[str, Request] = {}
        self._reading: str | None = None
        self._read = 0
        self._cached = 0

    def join(self, request_id: str, prompt: TokenIds, max_tokens: int, scored: bool = False) -> None:
        """Queue a request with a new id. max_tokens: of its answer. scored: whether its prompt is."""
        self.waiting.append(request_id)
        self._requests[request_id] = Request(prompt, len(prompt) + max_tokens, scored)

    def start_next(self) -> Place | None:
        """Give the first waiting request a slot, if there is one, memory for it, and no prompt half read."""
        if self._reading is not None or not self.waiting:
            return None
        request = self._requests[self.waiting[0]]
        place = self.places.take(request.prompt, request.need, use_cache=not request.scored)
        if place is None:
            return None
        self._reading = self.waiting.popleft()
        self._read = self._cached = place.cached
        self.running[self._reading] = place.slot
        return place

    def chunk(self, budget: int) -> Chunk | None:
        """The next part of the prompt being read, if there is one; it counts as read from then on.

        budget: its tokens, at least 2 * MIN_CHUNK. Half as many more are read where the prompt then ends,
            because a pass of its own would cost more. A prompt short enough for one pass ignores the budget,
            because splitting it makes every request slower; so does a prompt that cannot be split.
        """
        if self._reading is None:
            return None
        request_id, start = self._reading, self._read
        request = self._requests[request_id]
        length, longest = len(request.prompt), MAX_SCORED_CHUNK if request.scored else MAX_CHUNK
        tokens = min(budget, longest)
        if (start == self._cached and length - start <= longest) or not self._in_chunks:
            tokens = length - start
        stop = length if length - start <= tokens + tokens // 2 else start + tokens
        self._read = stop
        last = stop == length
        if last:
            self._reading = None
        return Chunk(request_id, self.running[request_id], start, stop, last, self._cached)

    def rows(self) -> list[Row]:
        """The requests whose prompt is read, by ascending slot: the rows of the next decode batch."""
        rows = (Row(*row) for row in self.running.items() if row[0] != self._reading)
        return sorted(rows, key=lambda row: row.slot)

    def leave(self, request_id: str) -> list[Cut]:
        """Take a request out, running or waiting. Returns the slots or pages to cut."""
        prompt = self._requests.pop(request_id).prompt
        slot = self.running.pop(request_id, None)
        if slot is None:
            self.waiting.remove(request_id)
            return []
        if request_id != self._reading:
            return self.places.leave(slot, len(prompt))
        self._reading = None
        return self.places.leave(slot, self._read)
