from hypothesis import given
from hypothesis import strategies as st

from slipway.runtime.prompt_lookup import PromptLookup

TOKENS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def looked_up(tokens: list[int]) -> PromptLookup:
    return PromptLookup(tokens)


def test_what_followed_the_last_words_before_is_drafted_again() -> None:
    assert looked_up([1, 2, 3, 4, 5, 9, 1, 2]).draft(3) == [3, 4, 5]


def test_the_longest_match_counts_and_of_equals_the_latest() -> None:
    assert looked_up([7, 1, 2, 3, 9, 1, 2, 4, 8, 7, 1, 2]).draft(1) == [3]
    assert looked_up([1, 2, 3, 1, 2, 4, 8, 1, 2]).draft(1) == [4]


def test_a_sequence_that_repeats_its_end_is_drafted_round_after_round() -> None:
    assert looked_up([9, 1, 2, 1, 2]).draft(5) == [1, 2, 1, 2, 1]


def test_after_another_value_the_draft_goes_on_behind_it() -> None:
    lookup = looked_up([5, 6, 1, 7, 8, 9, 5, 6])
    assert lookup.draft(2) == [1, 7]
    lookup.append(2)
    assert lookup.draft(2) == [7, 8]


def test_two_tokens_elsewhere_do_not_lead_away_from_lines_that_go_on() -> None:
    lookup = looked_up([5, 6, 1, 7, 8, 9, 4, 2, 3, 9, 5, 6])
    for token in (4, 2):
        lookup.append(token)
    assert lookup.draft(3) == [8, 9, 4]


def test_what_changed_in_one_line_is_expected_to_change_in_the_next() -> None:
    lookup = looked_up([5, 6, 1, 7, 8, 9])
    for value in range(20, 26):
        for token in (5, 6, value, 7, 8, 9):
            lookup.append(token)
    _, two_that_stay, changing = lookup.chances(3)
    assert lookup.draft(3) == [5, 6, 25]
    assert two_that_stay > 0.9
    assert changing < 0.1


def test_nothing_is_drafted_before_anything_repeats() -> None:
    lookup = looked_up([1, 2, 3, 4])
    assert lookup.draft(8) == []
    assert lookup.chances(8) == []


def test_guesses_that_come_true_are_trusted_more_and_those_that_do_not_less() -> None:
    start = looked_up([1, 2, 1, 2])
    before = start.chances(1)
    for token in [1, 2] * 20:
        start.append(token)
    assert start.chances(1) > before
    for token in [3, 1, 2, 4, 1, 2, 5, 1, 2, 6, 1, 2, 7, 1, 2]:
        start.append(token)
    assert start.chances(1) < before


@given(tokens=TOKENS, more=TOKENS, most=st.integers(0, 20))
def test_a_draft_is_copied_from_the_context_and_its_chances_only_fall(
    tokens: list[int], more: list[int], most: int
) -> None:
    lookup = looked_up(tokens)
    for token in more:
        lookup.append(token)
    draft, chances = lookup.draft(most), lookup.chances(most)
    assert len(lookup) == len(tokens) + len(more)
    assert len(draft) == len(chances) in (0, most)
    assert set(draft) <= set(tokens + more)
    assert all(0 < chance < 1 for chance in chances)
    assert chances == sorted(chances, reverse=True)
