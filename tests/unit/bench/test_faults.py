"""What bench.faults sends, and what it takes for a leak."""

import json
import random

import pytest

from bench.faults.held import Held
from bench.faults.mutated_bodies import mutated
from bench.faults.outcome import HEADER, Outcome

BEFORE = Held(process=1, slots=0, handles=20, memory=200_000_000)


def test_the_same_seed_makes_the_same_bodies_and_answers_stay_short() -> None:
    sent = [[mutated(random.Random(seed), "m") for seed in range(500)] for _ in range(2)]
    assert sent[0] == sent[1]
    assert len(set(sent[0])) > 400
    whole = 0
    for _, content in sent[0]:
        try:
            body = json.loads(content)
        except ValueError:
            continue
        whole += 1
        if isinstance(body, dict):
            assert body.get("max_tokens", 4) == 4
    assert 350 < whole < 500, "some are no JSON"


@pytest.mark.parametrize(
    ("after", "leaks"),
    [
        (BEFORE, []),
        (Held(1, 0, 24, 250_000_000), []),
        (Held(1, 2, 20, 200_000_000), ["2 slots held"]),
        (Held(1, 0, 60, 200_000_000), ["40 handles leaked"]),
        (Held(1, 0, 20, 400_000_000), ["200 MB kept"]),
        (Held(2, 0, 90, 900_000_000), []),
    ],
)
def test_slots_open_files_and_memory_that_are_not_given_back_are_leaks(after: Held, leaks: list[str]) -> None:
    assert after.leaks(BEFORE) == leaks


def test_a_row_has_the_columns_of_the_header() -> None:
    after = Held(1, 0, 23, 190_000_000)
    row = Outcome("8 x 400", recovery_s=2.55).row("slipway serve", "large bodies", BEFORE, after)
    assert row == "| `slipway serve` | large bodies | 8 x 400 | 2.5 s | 0 | +3 | -10 MB |"
    assert row.count("|") == HEADER.splitlines()[0].count("|")
