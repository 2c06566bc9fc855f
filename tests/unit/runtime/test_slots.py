from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from slipway.runtime.slots import Place, Slots, TokenIds, spans

MUCH = 100_000


def prompt(length: int, seed: int = 0) -> TokenIds:
    return np.random.default_rng(seed).integers(0, 1000, length)


def finished(slots: Slots, tokens: TokenIds) -> int:
    """A request that came and went; its slot."""
    place = slots.take(tokens, len(tokens))
    assert place is not None
    slots.leave(place.slot, len(tokens))
    return place.slot


def test_the_next_turn_of_a_chat_goes_on_where_its_last_prompt_ended() -> None:
    slots = Slots(4, MUCH, MUCH)
    finished(slots, prompt(50, seed=1))
    slot = finished(slots, prompt(500))
    assert slots.take(np.concatenate([prompt(500), prompt(80, seed=2)]), 600) == Place(slot, slot, 500)


def test_a_short_common_header_is_copied_and_the_long_chat_behind_it_stays() -> None:
    slots = Slots(4, MUCH, MUCH)
    header = prompt(100)
    chat = np.concatenate([header, prompt(900, seed=1)])
    slot = finished(slots, chat)
    other = slots.take(np.concatenate([header, prompt(50, seed=2)]), 200)
    assert other is not None
    assert (other.source, other.cached) == (slot, 100)
    assert other.slot != slot
    assert slots.take(chat, 1100) == Place(slot, slot, 998), "the last two tokens are read again"


def test_a_prefix_is_copied_from_a_request_that_still_runs() -> None:
    slots = Slots(4, MUCH, MUCH)
    first = slots.take(prompt(300), 300)
    second = slots.take(prompt(300), 300)
    assert first is not None
    assert second is not None
    assert second == Place(second.slot, first.slot, 298)


def test_the_least_recently_used_goes_first() -> None:
    slots = Slots(2, MUCH, MUCH)
    used_again, forgotten = prompt(100, seed=1), prompt(100, seed=2)
    finished(slots, used_again)
    finished(slots, forgotten)
    finished(slots, used_again)
    finished(slots, prompt(100, seed=3))
    back = slots.take(used_again, 1000)
    assert back is not None
    assert back.cached == 98


def test_a_prompt_that_another_one_began_like_was_used_then() -> None:
    slots = Slots(4, MUCH, 300)
    source = finished(slots, prompt(150, seed=1))
    other = finished(slots, prompt(100, seed=2))
    place = slots.take(np.concatenate([prompt(150, seed=1)[:100], prompt(50, seed=3)]), 300)
    assert place is not None
    assert (place.source, place.cached) == (source, 100)
    assert slots.leave(place.slot, 150) == [(place.slot, 150), (other, 0)]


def test_a_prompt_was_last_used_when_its_answer_ended() -> None:
    slots = Slots(3, MUCH, 200)
    long = slots.take(prompt(100, seed=1), 1000)
    assert long is not None
    short = finished(slots, prompt(100, seed=2))
    slots.leave(long.slot, 100)
    other = slots.take(prompt(100, seed=3), 100)
    assert other is not None
    assert slots.leave(other.slot, 100) == [(other.slot, 100), (short, 0)]


def test_what_few_tokens_have_in_common_is_neither_copied_nor_kept() -> None:
    for length, cached in ((15, 0), (16, 16)):
        slots = Slots(2, MUCH, MUCH)
        slots.take(np.concatenate([prompt(length), prompt(90, seed=1)]), 200)
        place = slots.take(np.concatenate([prompt(length), prompt(90, seed=2)]), 200)
        assert place is not None
        assert place.cached == cached
        finished(kept := Slots(2, MUCH, MUCH), prompt(length))
        assert kept.idle_tokens == cached


def test_idle_prompts_give_way_for_a_single_token_too_many() -> None:
    for budget, kept in ((200, 200), (199, 100)):
        slots = Slots(4, MUCH, budget)
        for seed in range(2):
            finished(slots, prompt(100, seed=seed))
        assert slots.idle_tokens == kept


def test_idle_prompts_give_way_when_they_hold_too_much_together() -> None:
    slots = Slots(4, MUCH, 250)
    oldest = finished(slots, prompt(100, seed=1))
    finished(slots, prompt(100, seed=2))
    place = slots.take(prompt(100, seed=3), 100)
    assert place is not None
    assert slots.leave(place.slot, 100) == [(place.slot, 100), (oldest, 0)]
    assert slots.idle_tokens == 200


def test_without_memory_for_it_nothing_is_kept() -> None:
    slots = Slots(2, MUCH, 0)
    assert finished(slots, prompt(100)) == 0
    assert slots.take(prompt(100), 100) == Place(0, 0, 0)


def test_without_copies_a_long_chat_is_not_given_up_for_a_short_common_header() -> None:
    slots = Slots(2, MUCH, MUCH, copies=False)
    header = prompt(100)
    chat = np.concatenate([header, prompt(900, seed=1)])
    slot = finished(slots, chat)
    other = slots.take(np.concatenate([header, prompt(50, seed=2)]), 200)
    assert other is not None
    assert other.slot != slot
    assert other.cached == 0
    assert slots.take(np.concatenate([chat, prompt(9, seed=3)]), 1100) == Place(slot, slot, 1000)


def test_without_copies_a_chat_is_given_up_where_half_of_it_is_used() -> None:
    for shared, cached in ((500, 500), (499, 0)):
        slots = Slots(2, MUCH, MUCH, copies=False)
        finished(slots, np.concatenate([prompt(shared), prompt(1000 - shared, seed=1)]))
        place = slots.take(np.concatenate([prompt(shared), prompt(90, seed=2)]), 700)
        assert place is not None
        assert place.cached == cached


def test_running_slots_stay_neighbours_even_where_a_prefix_lies_far_away() -> None:
    slots = Slots(16, MUCH, MUCH)
    for seed in range(9):
        finished(slots, prompt(600, seed=seed))
    running = slots.take(prompt(20, seed=50), 20)
    assert running is not None
    place = slots.take(prompt(600, seed=2), 600)
    assert place is not None
    assert place.cached == 598
    assert abs(place.slot - running.slot) <= 3, "both decode in one pass"


def test_the_nearest_neighbour_is_taken_because_idle_slots_between_cost_too() -> None:
    slots = Slots(4, MUCH, 0)
    places = [slots.take(prompt(20, seed=row), 20) for row in range(4)]
    for place in places[:3]:
        assert place is not None
        slots.leave(place.slot, 20)
    assert slots.take(prompt(20), 20) == Place(2, 2, 0)


@given(
    rows=st.sets(st.integers(0, 31), min_size=1).map(sorted), held=st.lists(st.integers(0, 300), min_size=32)
)
def test_decode_passes_cover_every_running_slot_once_and_bridge_only_what_is_cheap(
    rows: list[int], held: list[int]
) -> None:
    ranges = spans(rows, held)
    covered = [slot for start, stop in ranges for slot in range(start, stop)]
    assert len(covered) == len(set(covered))
    assert set(rows) <= set(covered)
    assert all(start in rows and stop - 1 in rows for start, stop in ranges), "no idle slot at an edge"
    for (_, gap_start), (gap_stop, _) in pairwise(ranges):
        assert gap_stop - gap_start > 2 or sum(held[gap_start:gap_stop]) > 512
    for before, after in pairwise(rows):
        together = any(start <= before and after < stop for start, stop in ranges)
        assert together == (after - before <= 3 and sum(held[before + 1 : after]) <= 512)


def test_a_running_request_keeps_memory_for_all_it_may_come_to_hold() -> None:
    slots = Slots(4, 1000, MUCH)
    first = slots.take(prompt(100), 600)
    assert first is not None
    assert slots.take(prompt(100, seed=1), 500) is None, "600 of 1,000 are spoken for"
    assert slots.take(prompt(100, seed=1), 400) is not None
    slots.leave(first.slot, 100)
    assert slots.take(prompt(100, seed=2), 600) is not None


def test_kept_prompts_give_way_to_running_ones() -> None:
    slots = Slots(4, 1000, MUCH)
    old = finished(slots, prompt(300, seed=1))
    finished(slots, prompt(300, seed=2))
    place = slots.take(prompt(100, seed=3), 500)
    assert place is not None
    assert place.cuts == ((old, 0),), "the least recently used is forgotten, the other stays"
