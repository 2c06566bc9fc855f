from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runtime.executor import spans
from runtime.scheduler import Scheduler

SLOTS = 4


class AnyTraffic(RuleBasedStateMachine):
    """Requests come, run and go in any order; `queue` is what first come first served would be."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(SLOTS)
        self.joined = 0
        self.queue: list[str] = []
        self.running: dict[str, int] = {}

    @rule()
    def join(self) -> None:
        self.queue.append(str(self.joined))
        self.scheduler.join(str(self.joined))
        self.joined += 1

    @rule()
    def admit(self) -> None:
        free = set(range(SLOTS)) - set(self.running.values())
        admission = self.scheduler.admit()
        if not self.queue or not free:
            assert admission is None
            return
        assert admission is not None, "a waiting request must get a free slot"
        assert admission.request_id == self.queue.pop(0), "first come, first served"
        assert admission.slot == min(free), "low slots first keep the decode batch together"
        self.running[admission.request_id] = admission.slot

    @precondition(lambda self: self.queue or self.running)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from([*self.queue, *self.running]))
        assert self.scheduler.leave(request_id) == self.running.pop(request_id, None)
        if request_id in self.queue:
            self.queue.remove(request_id)

    @invariant()
    def none_is_lost(self) -> None:
        assert list(self.scheduler.waiting) == self.queue
        assert self.scheduler.running == self.running

    @invariant()
    def no_slot_is_given_twice(self) -> None:
        slots = [row.slot for row in self.scheduler.rows()]
        assert slots == sorted(slots)
        assert all(count == 1 for count in Counter(slots).values())
        assert len(slots) <= SLOTS


TestAnyTraffic = AnyTraffic.TestCase


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=40))
def test_every_request_finishes_however_many_arrive_at_once(lengths: list[int]) -> None:
    scheduler = Scheduler(SLOTS)
    left = {str(index): length for index, length in enumerate(lengths)}
    for request_id in left:
        scheduler.join(request_id)
    steps = 0
    while scheduler.waiting or scheduler.running:
        scheduler.admit()
        for request_id in list(scheduler.running):
            left[request_id] -= 1
            if left[request_id] == 0:
                scheduler.leave(request_id)
        steps += 1
    assert not any(left.values())
    assert steps <= sum(lengths), "one at a time would have been as fast"


@given(st.sets(st.integers(0, 31), min_size=1).map(sorted))
def test_decode_passes_cover_every_running_slot_once_and_bridge_only_short_gaps(slots: list[int]) -> None:
    ranges = spans(slots)
    covered = [slot for start, stop in ranges for slot in range(start, stop)]
    assert len(covered) == len(set(covered))
    assert set(slots) <= set(covered)
    assert all(start in slots and stop - 1 in slots for start, stop in ranges), "no idle slot at an edge"
    assert all(later[0] - earlier[1] >= 3 for earlier, later in pairwise(ranges))
