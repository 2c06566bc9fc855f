from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runtime.executor import spans
from runtime.scheduler import LONGEST_CHUNK, Scheduler

SLOTS = 4
budgets = st.integers(8, 200)
prompt_lengths = st.integers(1, 400)


class AnyTraffic(RuleBasedStateMachine):
    """Requests come, run and go in any order; `queue` is what first come first served would be."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(SLOTS)
        self.joined = 0
        self.queue: list[str] = []
        self.running: dict[str, int] = {}
        self.prompts: dict[str, int] = {}
        self.read: Counter[str] = Counter()

    @rule(prompt_length=prompt_lengths)
    def join(self, prompt_length: int) -> None:
        request_id = str(self.joined)
        self.joined += 1
        self.queue.append(request_id)
        self.prompts[request_id] = prompt_length
        self.scheduler.join(request_id, prompt_length)

    @rule()
    def admit(self) -> None:
        free = set(range(SLOTS)) - set(self.running.values())
        admission = self.scheduler.admit()
        if not self.queue or not free or self.half_read():
            assert admission is None
            return
        assert admission is not None, "a waiting request must get a free slot"
        assert admission.request_id == self.queue.pop(0), "first come, first served"
        assert admission.slot == min(free), "low slots first keep the decode batch together"
        self.running[admission.request_id] = admission.slot

    @rule(budget=budgets)
    def read_a_chunk(self, budget: int) -> None:
        chunk = self.scheduler.chunk(budget)
        if chunk is None:
            assert not self.half_read(), "an admitted prompt must be read"
            return
        assert [chunk.request_id] == self.half_read()
        assert chunk.slot == self.running[chunk.request_id]
        assert chunk.start == self.read[chunk.request_id], "no token twice, none left out"
        assert chunk.stop - chunk.start <= min(budget, LONGEST_CHUNK)
        length = self.prompts[chunk.request_id]
        assert chunk.stop - chunk.start >= min(length, 2), "a pass over one token has other bits"
        assert chunk.last == (chunk.stop == length)
        self.read[chunk.request_id] = chunk.stop

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
        slots = list(self.running.values())
        assert len(set(slots)) == len(slots) <= SLOTS

    @invariant()
    def exactly_those_whose_prompt_is_read_decode(self) -> None:
        rows = self.scheduler.rows()
        assert [row.slot for row in rows] == sorted(row.slot for row in rows)
        assert {row.request_id for row in rows} == set(self.running) - set(self.half_read())

    def half_read(self) -> list[str]:
        return [name for name in self.running if self.read[name] < self.prompts[name]]


AnyTraffic.TestCase.settings = settings(max_examples=1000, stateful_step_count=30, deadline=None)
TestAnyTraffic = AnyTraffic.TestCase


@settings(max_examples=1000)
@given(
    requests=st.lists(st.tuples(st.integers(0, 30), prompt_lengths, st.integers(1, 20)), min_size=1),
    budget=budgets,
)
def test_everyone_is_served_in_turn_within_the_budget_whenever_they_arrive(
    requests: list[tuple[int, int, int]], budget: int
) -> None:
    """requests: the step each arrives at, the tokens of its prompt, the tokens of its answer."""
    scheduler = Scheduler(SLOTS)
    arrivals = sorted((step, str(index)) for index, (step, _, _) in enumerate(requests))
    left = {str(index): answer for index, (_, _, answer) in enumerate(requests)}
    prompts = {str(index): prompt for index, (_, prompt, _) in enumerate(requests)}
    first_tokens: list[str] = []
    step = 0
    while left:
        for _, name in [arrival for arrival in arrivals if arrival[0] == step]:
            scheduler.join(name, prompts[name])
        before = len(scheduler.rows()), len(first_tokens)
        for row in scheduler.rows():
            left[row.request_id] -= 1
            if left[row.request_id] == 0:
                scheduler.leave(row.request_id)
                del left[row.request_id]
        spent = 0
        while budget - spent >= 8:
            scheduler.admit()
            chunk = scheduler.chunk(budget - spent)
            if chunk is None:
                break
            spent += chunk.stop - chunk.start
            if chunk.last:
                first_tokens.append(chunk.request_id)
        assert spent <= budget
        busy = bool(scheduler.running or scheduler.waiting)
        assert not busy or spent or before[0], "a step with work to do does some"
        step += 1
        assert step < 30 + sum(prompt // 7 + answer + 2 for _, prompt, answer in requests), "starved"
    assert first_tokens == [name for _, name in arrivals], "first come, first served"


@given(st.sets(st.integers(0, 31), min_size=1).map(sorted))
def test_decode_passes_cover_every_running_slot_once_and_bridge_only_short_gaps(slots: list[int]) -> None:
    ranges = spans(slots)
    covered = [slot for start, stop in ranges for slot in range(start, stop)]
    assert len(covered) == len(set(covered))
    assert set(slots) <= set(covered)
    assert all(start in slots and stop - 1 in slots for start, stop in ranges), "no idle slot at an edge"
    assert all(later[0] - earlier[1] >= 3 for earlier, later in pairwise(ranges))
