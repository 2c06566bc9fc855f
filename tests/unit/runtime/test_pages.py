"""The pages of requests: shared by content, never written by two, given back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.runtime.block_cache import BLOCK, blocks_for
from slipway.runtime.pages import Pages
from slipway.runtime.slots import MIN_CHUNK, Place, TokenIds


def prompt(*lengths_and_seeds: tuple[int, int]) -> TokenIds:
    """Stretches of tokens, each of a length and drawn with a seed."""
    parts = [np.random.default_rng(seed).integers(0, 1000, length) for length, seed in lengths_and_seeds]
    return np.concatenate(parts).astype(np.int64)


HEADER = (3 * BLOCK, 0)


def taken(pages: Pages, tokens: TokenIds, answer: int = 8) -> Place:
    place = pages.take(tokens, len(tokens) + answer)
    assert place is not None
    assert len(place.pages) == blocks_for(len(tokens) + answer)
    return place


def test_a_running_prompt_shares_its_pages_with_one_that_begins_like_it() -> None:
    pages = Pages(4, 40, 40)
    first = taken(pages, prompt(HEADER, (20, 1)))
    second = taken(pages, prompt(HEADER, (50, 2)))
    assert second.cached == 3 * BLOCK
    assert second.pages[:3] == first.pages[:3]
    assert not set(second.pages[3:]) & set(first.pages)


def test_a_page_is_known_by_all_that_is_before_it() -> None:
    pages = Pages(4, 40, 40)
    taken(pages, prompt((BLOCK, 1), (BLOCK, 2), (20, 3)))
    assert taken(pages, prompt((BLOCK, 4), (BLOCK, 2), (20, 3))).cached == 0
    assert taken(pages, prompt((BLOCK, 1), (BLOCK, 4), (20, 3))).cached == BLOCK


def test_the_last_tokens_of_a_prompt_are_always_read() -> None:
    pages = Pages(4, 40, 40)
    whole = prompt((2 * BLOCK, 1))
    taken(pages, whole)
    assert taken(pages, whole).cached == BLOCK
    assert taken(pages, prompt((2 * BLOCK, 1), (MIN_CHUNK, 2))).cached == 2 * BLOCK


def test_a_scored_prompt_takes_nothing_from_the_cache_but_leaves_its_pages() -> None:
    pages = Pages(4, 40, 40)
    tokens = prompt(HEADER, (5, 1))
    place = pages.take(tokens, len(tokens) + 1, use_cache=False)
    assert place is not None
    pages.leave(place.slot, len(tokens))
    scored = pages.take(tokens, len(tokens) + 1, use_cache=False)
    assert scored is not None
    assert scored.cached == 0
    assert taken(pages, tokens).cached == 3 * BLOCK


def test_what_was_not_read_is_not_kept() -> None:
    pages = Pages(4, 40, 40)
    tokens = prompt(HEADER, (40, 1))
    pages.leave(taken(pages, tokens).slot, 2 * BLOCK + 5)
    assert pages.idle_tokens == 2 * BLOCK
    assert taken(pages, tokens).cached == 2 * BLOCK


def test_the_least_recently_used_prompt_goes_first_and_from_its_end() -> None:
    pages = Pages(1, 40, 5)
    old, new = prompt(HEADER, (5, 1)), prompt((3 * BLOCK, 9), (5, 1))
    pages.leave(taken(pages, old).slot, len(old))
    pages.leave(taken(pages, new).slot, len(new))
    assert pages.idle_tokens == 5 * BLOCK
    place = taken(pages, old)
    assert place.cached == 2 * BLOCK
    pages.leave(place.slot, len(old))
    assert taken(pages, new).cached == 2 * BLOCK


def test_a_request_waits_until_there_are_pages_for_its_longest_answer() -> None:
    pages = Pages(4, 6, 6)
    tokens = prompt(HEADER, (5, 1))
    first = taken(pages, tokens)
    assert pages.take(tokens, 6 * BLOCK) is None
    assert taken(pages, tokens).cached == 3 * BLOCK, "one page of its own is enough"
    pages.leave(first.slot, len(tokens))


def test_no_cache_keeps_nothing() -> None:
    pages = Pages(2, 10, 0)
    place = taken(pages, prompt(HEADER, (5, 1)))
    freed = pages.leave(place.slot, 3 * BLOCK + 5)
    assert {cut.place for cut in freed} == set(place.pages)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5 * BLOCK), st.integers(0, 3)), max_size=60),
    st.integers(0, 20),
)
@pytest.mark.parametrize("total", [12, 24])
def test_whatever_comes_and_goes_no_page_is_lost_or_written_by_two(
    total: int, steps: list[tuple[int, int, int]], idle: int
) -> None:
    pages, running = Pages(3, total, idle), {}
    for seed, length, leaver in steps:
        tokens = prompt((5 * BLOCK, seed))[:length]
        place = pages.take(tokens, length + 10)
        if place is not None:
            written = set(place.pages[place.cached // BLOCK :])
            for other, _ in running.values():
                assert not written & set(other.pages), "each writes only pages of its own"
            assert place.cached <= max(length - MIN_CHUNK, 0)
            running[place.slot] = place, length
        if leaver in running:
            _, read = running.pop(leaver)
            freed = {cut.place for cut in pages.leave(leaver, read)}
            assert not any(freed & set(other.pages) for other, _ in running.values())
    for slot, (_, read) in running.items():
        pages.leave(slot, read)
    assert pages.idle_tokens <= idle * BLOCK
    last = pages.take(prompt((5, 99)), total * BLOCK)
    assert last is not None, "all pages can be had again"
    assert set(last.pages) == set(range(total))
