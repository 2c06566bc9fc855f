from itertools import accumulate
from operator import mul

from hypothesis import given
from hypothesis import strategies as st

from slipway.runtime.draft_length import DraftLength

CHANCES = st.lists(st.floats(0.01, 0.99), max_size=15).map(lambda steps: list(accumulate(steps, mul)))


def chances(sure: float, count: int = 15) -> list[float]:
    return [sure**length for length in range(1, count + 1)]


def measured(one: float, each_more: float) -> DraftLength:
    costs = DraftLength()
    for _ in range(100):
        costs.add(1, one)
        costs.add(6, one + 5 * each_more)
    return costs


def test_nothing_is_drafted_before_a_pass_was_timed() -> None:
    assert DraftLength().choose([chances(0.99)]) == [0]


def test_the_surer_the_guesses_the_longer_the_draft() -> None:
    costs = measured(0.006, 0.001)
    lengths = [costs.choose([chances(sure)])[0] for sure in (0.1, 0.5, 0.8, 0.99)]
    assert lengths[0] == 0
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == 15


def test_drafting_stops_where_rows_are_dear_and_is_tried_again_later() -> None:
    costs = measured(0.006, 0.006)
    assert costs.choose([chances(0.9)]) == [0]
    for _ in range(300):
        costs.add(1, 0.006)
    assert costs.choose([chances(0.9)]) != [0]


def test_a_draft_is_never_longer_than_there_are_chances() -> None:
    assert measured(0.006, 0.0001).choose([chances(0.99, 3)]) == [3]


def test_no_request_waits_for_the_drafts_of_another() -> None:
    costs = measured(0.006, 0.001)
    assert costs.choose([chances(0.95), []]) == [0, 0]
    assert all(costs.choose([chances(0.95), chances(0.95)]))


def test_a_shared_pass_pays_for_drafts_that_passes_of_their_own_would_not() -> None:
    costs = measured(0.010, 0.001)
    streams = [chances(0.6)] * 8
    assert not any(costs.choose(streams))
    assert all(costs.choose(streams, together=True))


def test_in_a_shared_pass_the_likeliest_tokens_come_first_and_no_request_gets_slower() -> None:
    costs = measured(0.010, 0.0005)
    sure, unsure = costs.choose([chances(0.95), chances(0.4)], together=True)
    assert sure > unsure > 0
    assert costs.choose([chances(0.95), []], together=True) == [0, 0]


@given(
    rows=st.lists(CHANCES, min_size=1, max_size=16),
    one=st.floats(0.001, 0.1),
    each_more=st.floats(0, 0.1),
)
def test_a_shared_pass_makes_every_request_faster(
    rows: list[list[float]], one: float, each_more: float
) -> None:
    costs = DraftLength()
    costs.add(1, one)
    costs.add(2, one + each_more)
    lengths = costs.choose(rows, together=True)
    assert all(0 <= length <= len(row) for length, row in zip(lengths, rows, strict=True))
    if any(lengths):
        # Of the measured cost of a row a little is kept from the usual one.
        row = min(each_more, one / 5)
        slower = (one + (len(rows) + sum(lengths) - 1) * row) / (
            one + (len(rows) - 1) * max(each_more, one / 5)
        )
        assert all(1 + sum(chance[:length]) > slower for chance, length in zip(rows, lengths, strict=True))


@given(
    rows=st.lists(CHANCES, min_size=1, max_size=4),
    one=st.floats(0.001, 0.1),
    each_more=st.floats(0, 0.1),
)
def test_all_draft_or_none_does_and_only_what_there_are_chances_for(
    rows: list[list[float]], one: float, each_more: float
) -> None:
    lengths = measured(one, each_more).choose(rows)
    assert all(0 <= length <= len(row) for length, row in zip(lengths, rows, strict=True))
    assert all(lengths) or not any(lengths)
    if len(rows) == 1 and any(lengths):
        # The measured cost of a row, which may be drawn a little to the usual one.
        assert (1 + sum(rows[0][: lengths[0]])) * one > one + lengths[0] * min(each_more, one / 5)
