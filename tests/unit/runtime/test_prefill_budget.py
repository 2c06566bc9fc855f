from hypothesis import given
from hypothesis import strategies as st

from slipway.runtime.prefill_budget import IDLE_BUDGET, SMALLEST_BUDGET, Pace


def test_running_streams_wait_for_a_prompt_at_most_two_decode_steps_more() -> None:
    pace = Pace()
    pace.decoded(0.011)
    pace.prefilled(128, 0.128)
    assert pace.budget(decoding=True) == 22


def test_a_step_that_nobody_waits_for_may_be_long() -> None:
    assert Pace().budget(decoding=False) == IDLE_BUDGET


def test_one_hiccup_does_not_change_the_pace_and_a_lasting_change_does() -> None:
    pace = Pace()
    pace.prefilled(100, 0.1)
    for _ in range(50):
        pace.decoded(0.010)
    pace.decoded(0.100)
    assert pace.budget(decoding=True) < 50
    for _ in range(50):
        pace.decoded(0.100)
    assert pace.budget(decoding=True) > 180


@given(seconds=st.lists(st.floats(0, 10)), tokens=st.integers(1, 128))
def test_prompts_always_make_progress(seconds: list[float], tokens: int) -> None:
    pace = Pace()
    for taken in seconds:
        pace.decoded(taken)
        pace.prefilled(tokens, taken)
    assert SMALLEST_BUDGET <= pace.budget(decoding=True) <= IDLE_BUDGET
