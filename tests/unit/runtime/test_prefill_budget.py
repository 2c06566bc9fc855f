from hypothesis import given
from hypothesis import strategies as st

from slipway.runtime.prefill_budget import MAX_BUDGET, MIN_BUDGET, PrefillBudget


def test_a_prompt_delays_running_streams_by_at_most_two_decode_steps() -> None:
    budget = PrefillBudget()
    budget.add_decode(0.011)
    budget.add_prefill(128, 0.128)
    assert budget.tokens(decoding=True) == 22


def test_a_step_while_no_stream_runs_may_be_long() -> None:
    assert PrefillBudget().tokens(decoding=False) == MAX_BUDGET


def test_one_slow_step_does_not_change_the_budget_and_a_lasting_change_does() -> None:
    budget = PrefillBudget()
    budget.add_prefill(100, 0.1)
    for _ in range(50):
        budget.add_decode(0.010)
    budget.add_decode(0.100)
    assert budget.tokens(decoding=True) < 50
    for _ in range(50):
        budget.add_decode(0.100)
    assert budget.tokens(decoding=True) > 180


@given(seconds=st.lists(st.floats(0, 10)), tokens=st.integers(1, 128))
def test_prompts_always_make_progress(seconds: list[float], tokens: int) -> None:
    budget = PrefillBudget()
    for taken in seconds:
        budget.add_decode(taken)
        budget.add_prefill(tokens, taken)
    assert MIN_BUDGET <= budget.tokens(decoding=True) <= MAX_BUDGET
