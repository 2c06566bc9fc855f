from dataclasses import replace

import pytest

from bench.contest import Figure
from bench.speculation import OFF, ON, Sample, changed_answers, rows_of


def pair(
    text: str, number: int, off_s: float, on_s: float, drafted: int = 0, accepted: int = 0
) -> list[Sample]:
    """A text of 100 tokens continued both ways in a round."""
    answer = list(range(100))
    return [
        Sample("prose", text, number, OFF, off_s, answer, 0, 0),
        Sample("prose", text, number, ON, on_s, answer, drafted, accepted),
    ]


def test_the_gain_is_taken_round_by_round():
    row = rows_of([*pair("a", 0, 4.0, 2.0), *pair("a", 1, 40.0, 10.0)])["prose: a"]
    assert (row.gain.low, row.gain.high) == (2.0, 4.0)
    assert row.off == Figure(13.75, 2.5, 25.0)


def test_a_kind_counts_the_seconds_of_all_its_texts():
    rows = rows_of([*pair("a", 0, 1.0, 1.0), *pair("b", 0, 9.0, 4.0)])
    assert list(rows) == ["prose", "prose: a", "prose: b"]
    assert rows["prose"].tokens == 200
    assert rows["prose"].gain.median == pytest.approx(10.0 / 5.0)


def test_every_token_but_one_a_pass_was_a_draft():
    row = rows_of(pair("a", 0, 2.0, 1.0, drafted=100, accepted=75))["prose"]
    assert row.right == 0.75
    assert row.per_pass == 100 / 25
    assert rows_of(pair("a", 0, 1.0, 1.0))["prose"].right is None


def test_an_answer_that_is_not_always_the_same_is_named():
    off, on = pair("a", 0, 1.0, 1.0)
    assert changed_answers([off, replace(on, token_ids=[0])]) == ["prose: a"]
    assert changed_answers(pair("b", 0, 1.0, 1.0)) == []
