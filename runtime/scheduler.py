"""Who runs next: the waiting queue, the slots, the prompt being read, as plain data; asked by `engine`."""

import heapq
from collections import deque
from typing import NamedTuple

# The longest pass over a prompt: a cancelled request is noticed between two. Longer ones read hardly faster
# (SmolLM2-135M, 2 cores: 128 tokens 1,330 to 1,440 tokens/s, 512 tokens 1,200 to 1,470).
LONGEST_CHUNK = 128
# A pass over one token sums in another order than a longer one, so its bits differ; a prompt of two or more
# tokens is never read in such a pass, and its answer does not depend on where the chunks ended.
SHORTEST_CHUNK = 2


class Admission(NamedTuple):
    """A request and its slot."""

    request_id: str
    slot: int


class Chunk(NamedTuple):
    """Prompt tokens [start, stop) of a request, to be read into its slot; `last`: the prompt ends there."""

    request_id: str
    slot: int
    start: int
    stop: int
    last: bool


class Scheduler:
    """First come first served, at most `slots` at a time.

    A request joins the queue, is admitted when a slot is free, has its prompt read chunk by chunk, then is a
    row of every decode batch, and leaves whenever it likes. One prompt is read at a time. The lowest free
    slot is given first, so that running slots stay close together and decode in one pass.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.waiting: deque[str] = deque()
        self.running: dict[str, int] = {}
        self._free = list(range(slots))
        self._prompt_lengths: dict[str, int] = {}
        self._reading: str | None = None
        self._read = 0

    def join(self, request_id: str, prompt_length: int) -> None:
        """Queue a request whose id is not here yet."""
        self.waiting.append(request_id)
        self._prompt_lengths[request_id] = prompt_length

    def admit(self) -> Admission | None:
        """Give the first waiting request a slot, if there are both and no other prompt is being read."""
        if self._reading is not None or not self.waiting or not self._free:
            return None
        admission = Admission(self.waiting.popleft(), heapq.heappop(self._free))
        self.running[admission.request_id] = admission.slot
        self._reading, self._read = admission.request_id, 0
        return admission

    def chunk(self, budget: int) -> Chunk | None:
        """The next part of the prompt being read, if one is; it counts as read.

        budget: most tokens of it, more than SHORTEST_CHUNK.
        """
        if self._reading is None:
            return None
        request_id, start = self._reading, self._read
        length = self._prompt_lengths[request_id]
        stop = min(start + min(budget, LONGEST_CHUNK), length)
        if 0 < length - stop < SHORTEST_CHUNK:
            stop = length - SHORTEST_CHUNK
        self._read = stop
        if stop == length:
            self._reading = None
        return Chunk(request_id, self.running[request_id], start, stop, last=stop == length)

    def rows(self) -> list[Admission]:
        """The requests whose prompt is read, by ascending slot: the rows of the next decode batch."""
        rows = (Admission(*row) for row in self.running.items() if row[0] != self._reading)
        return sorted(rows, key=lambda row: row.slot)

    def leave(self, request_id: str) -> int | None:
        """Take a request out, running or waiting; returns the slot it frees, if it had one."""
        del self._prompt_lengths[request_id]
        if request_id == self._reading:
            self._reading = None
        slot = self.running.pop(request_id, None)
        if slot is None:
            self.waiting.remove(request_id)
        else:
            heapq.heappush(self._free, slot)
        return slot
