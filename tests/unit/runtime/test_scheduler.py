from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slipway.runtime.scheduler import MAX_CHUNK, MAX_SCORED_CHUNK, Scheduler
from slipway.runtime.slots import Slots, TokenIds

SLOTS = 4
IDLE_TOKENS = 600
TOKENS = 1000
budgets = st.integers(8, 200)
# Cut from three texts, so that many have long prefixes in common.
TEXTS = [np.random.default_rng(seed).integers(0, 9, 400) for seed in range(3)]
prompts = st.builds(lambda text, length: text[:length], st.sampled_from(TEXTS), st.integers(1, 400))


class AnyTraffic(RuleBasedStateMachine):
    """Requests come, run and go in any order; `queue` is what first come first served would be."""

    idle_tokens = IDLE_TOKENS
    copies = True
    in_chunks = True

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(SLOTS, TOKENS, self.idle_tokens, self.copies)
        self.scheduler = Scheduler(self.slots, self.in_chunks)
        self.memory: list[list[int]] = [[] for _ in range(SLOTS)]
        self.joined = 0
        self.queue: list[str] = []
        self.running: dict[str, int] = {}
        self.prompts: dict[str, list[int]] = {}
        self.needs: dict[str, int] = {}
        self.read: Counter[str] = Counter()
        self.scored: set[str] = set()

    @rule(prompt=prompts, max_tokens=st.integers(0, 600), scored=st.booleans())
    def join(self, prompt: TokenIds, max_tokens: int, scored: bool) -> None:
        request_id = str(self.joined)
        self.joined += 1
        self.queue.append(request_id)
        self.prompts[request_id] = prompt.tolist()
        self.needs[request_id] = len(prompt) + max_tokens
        self.scheduler.join(request_id, prompt, max_tokens, scored)
        if scored:
            self.scored.add(request_id)

    @rule()
    def admit(self) -> None:
        free = set(range(SLOTS)) - set(self.running.values())
        place = self.scheduler.start_next()
        if not self.queue or not free or self.half_read() or self.reserved(self.queue[0]) > TOKENS:
            assert place is None
            return
        assert place is not None, "a waiting request must get a free slot"
        assert place.slot in free, "no slot is given twice"
        request_id = self.queue.pop(0)
        assert self.scheduler.running[request_id] == place.slot, "first come, first served"
        prompt = self.prompts[request_id]
        assert self.memory[place.source][: place.cached] == prompt[: place.cached], "another prompt's prefix"
        assert place.cached <= max(len(prompt) - 2, 0), "the last tokens are always read"
        assert place.cached == 0 or request_id not in self.scored, "logits of the cache are gone"
        assert self.copies or place.source == place.slot
        assert self.in_chunks or place.cached == 0
        self.memory[place.slot] = prompt[: place.cached]
        self.read[request_id] = place.cached
        self.running[request_id] = place.slot
        for cut, left in place.cuts:
            assert cut not in self.running.values(), "a running request lost its memory"
            self.memory[cut] = self.memory[cut][:left]

    @rule(budget=budgets)
    def read_a_chunk(self, budget: int) -> None:
        chunk = self.scheduler.chunk(budget)
        if chunk is None:
            assert not self.half_read(), "an admitted prompt must be read"
            return
        assert [chunk.request_id] == self.half_read()
        assert chunk.slot == self.running[chunk.request_id]
        assert chunk.start == self.read[chunk.request_id], "no token twice, none left out"
        prompt = self.prompts[chunk.request_id]
        length = len(prompt)
        longest = MAX_SCORED_CHUNK if chunk.request_id in self.scored else MAX_CHUNK
        whole = not self.in_chunks or length - chunk.cached <= longest
        most = length - chunk.cached if whole else min(budget, longest)
        assert chunk.stop - chunk.start <= (most + most // 2 if chunk.last else most)
        assert chunk.last or not whole, "a short prompt is read in one pass"
        assert self.in_chunks or chunk.last
        assert chunk.stop - chunk.start >= min(length, 2), "a pass over one token has other bits"
        assert chunk.last == (chunk.stop == length)
        self.read[chunk.request_id] = chunk.stop
        self.memory[chunk.slot] += prompt[chunk.start : chunk.stop]

    @precondition(lambda self: self.queue or self.running)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from([*self.queue, *self.running]))
        cuts = self.scheduler.leave(request_id)
        slot = self.running.pop(request_id, None)
        assert slot is not None or not cuts
        for cut, left in cuts:
            assert cut not in self.running.values(), "a running request lost its memory"
            self.memory[cut] = self.memory[cut][:left]
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
    def idle_slots_stay_within_their_memory(self) -> None:
        idle = set(range(SLOTS)) - set(self.running.values())
        assert self.slots.idle_tokens == sum(len(self.memory[slot]) for slot in idle)
        assert self.slots.idle_tokens <= self.idle_tokens

    @invariant()
    def all_that_may_come_fits_the_memory(self) -> None:
        assert self.reserved() + self.slots.idle_tokens <= TOKENS

    @invariant()
    def exactly_those_whose_prompt_is_read_decode(self) -> None:
        rows = self.scheduler.rows()
        assert [row.slot for row in rows] == sorted(row.slot for row in rows)
        assert {row.request_id for row in rows} == set(self.running) - set(self.half_read())

    def reserved(self, *others: str) -> int:
        return sum(self.needs[name] for name in (*self.running, *others))

    def half_read(self) -> list[str]:
        return [name for name in self.running if self.read[name] < len(self.prompts[name])]


class AnyTrafficWithoutCopies(AnyTraffic):
    """Over generators: a prefix is continued in its own slot only."""

    copies = False


class AnyTrafficOfWholePrompts(AnyTraffic):
    """Over generators on DirectML: nothing can be appended to, so nothing is kept."""

    idle_tokens = 0
    copies = False
    in_chunks = False


AnyTraffic.TestCase.settings = settings(max_examples=300, stateful_step_count=30)
for _fewer in (AnyTrafficWithoutCopies, AnyTrafficOfWholePrompts):
    _fewer.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestAnyTraffic = AnyTraffic.TestCase
TestAnyTrafficWithoutCopies = AnyTrafficWithoutCopies.TestCase
TestAnyTrafficOfWholePrompts = AnyTrafficOfWholePrompts.TestCase


@settings(max_examples=300)
@given(
    requests=st.lists(st.tuples(st.integers(0, 30), prompts, st.integers(1, 20)), min_size=1),
    budget=budgets,
)
def test_everyone_is_served_in_turn_within_the_budget_whenever_they_arrive(
    requests: list[tuple[int, TokenIds, int]], budget: int
) -> None:
    """requests: the step each arrives at, its prompt, the tokens of its answer."""
    scheduler = Scheduler(Slots(SLOTS, TOKENS, IDLE_TOKENS))
    arrivals = sorted((step, str(index)) for index, (step, _, _) in enumerate(requests))
    left = {str(index): answer for index, (_, _, answer) in enumerate(requests)}
    asked = {str(index): prompt for index, (_, prompt, _) in enumerate(requests)}
    first_tokens: list[str] = []
    step = 0
    while left:
        for _, name in [arrival for arrival in arrivals if arrival[0] == step]:
            scheduler.join(name, asked[name], left[name])
        before = len(scheduler.rows()), len(first_tokens)
        for row in scheduler.rows():
            left[row.request_id] -= 1
            if left[row.request_id] == 0:
                scheduler.leave(row.request_id)
                del left[row.request_id]
        spent = 0
        while budget - spent >= max(8, budget // 2):
            scheduler.start_next()
            chunk = scheduler.chunk(budget - spent)
            if chunk is None:
                break
            spent += chunk.stop - chunk.start
            if chunk.last:
                first_tokens.append(chunk.request_id)
        assert spent <= budget + max(budget // 2, MAX_CHUNK), "one short prompt more than the budget"
        busy = bool(scheduler.running or scheduler.waiting)
        assert not busy or spent or before[0], "a step with work to do does some"
        step += 1
        assert step < 30 + sum(len(prompt) // 7 + answer + 2 for _, prompt, answer in requests), "starved"
    assert first_tokens == [name for _, name in arrivals], "first come, first served"
