"""Who runs next: the waiting queue and the slots, over plain data; asked by `engine` at every step."""

import heapq
from collections import deque
from typing import NamedTuple


class Admission(NamedTuple):
    """A request that gets its slot now."""

    request_id: str
    slot: int


class Scheduler:
    """First come first served, at most `slots` at a time.

    A request joins the queue, is admitted when a slot is free, and leaves whenever it likes. The lowest free
    slot is given first, so that running slots stay close together and decode in one pass.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.waiting: deque[str] = deque()
        self.running: dict[str, int] = {}
        self._free = list(range(slots))

    def join(self, request_id: str) -> None:
        """Queue a request whose id is not here yet."""
        self.waiting.append(request_id)

    def admit(self) -> Admission | None:
        """Give the first waiting request a slot, if there are both."""
        if not self.waiting or not self._free:
            return None
        admission = Admission(self.waiting.popleft(), heapq.heappop(self._free))
        self.running[admission.request_id] = admission.slot
        return admission

    def rows(self) -> list[Admission]:
        """The running requests by ascending slot: the rows of the next decode batch."""
        return sorted((Admission(*row) for row in self.running.items()), key=lambda row: row.slot)

    def leave(self, request_id: str) -> int | None:
        """Take a request out, running or waiting; returns the slot it frees, if it had one."""
        slot = self.running.pop(request_id, None)
        if slot is None:
            self.waiting.remove(request_id)
        else:
            heapq.heappush(self._free, slot)
        return slot
