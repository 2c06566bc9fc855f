import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engines.generation import SamplingParams
from runtime.sampling import Sampler, log_probability

logits_of_any_kind = arrays.arrays(
    np.float32, st.integers(2, 200), elements=st.floats(-60, 60, width=32), unique=True
)


def drawn(logits: np.ndarray, count: int, **sampling: object) -> list[int]:
    sampler = Sampler(SamplingParams(max_tokens=1, **{"seed": 1, **sampling}))  # type: ignore[arg-type]
    return [sampler.choose(logits) for _ in range(count)]


def shares(tokens: list[int], size: int) -> np.ndarray:
    return np.bincount(tokens, minlength=size) / len(tokens)


@given(logits_of_any_kind)
def test_temperature_zero_takes_the_likeliest_token(logits: np.ndarray) -> None:
    assert drawn(logits, 1, temperature=0.0) == [int(logits.argmax())]


@given(logits_of_any_kind)
def test_a_tiny_temperature_is_greedy_and_does_not_overflow(logits: np.ndarray) -> None:
    assert drawn(logits, 3, temperature=1e-300) == [int(logits.argmax())] * 3


@given(logits_of_any_kind, st.integers(1, 250))
def test_top_k_draws_only_from_the_k_likeliest(logits: np.ndarray, top_k: int) -> None:
    likeliest = set(np.argsort(-logits)[:top_k].tolist())
    assert set(drawn(logits, 20, top_k=top_k, temperature=5.0)) <= likeliest


@given(logits_of_any_kind, st.floats(0.01, 0.99))
def test_top_p_draws_only_from_the_smallest_set_that_reaches_p(logits: np.ndarray, top_p: float) -> None:
    probabilities = np.exp(logits.astype(np.float64) - logits.max())
    probabilities /= probabilities.sum()
    order = np.argsort(-probabilities)
    before = np.cumsum(probabilities[order]) - probabilities[order]
    nucleus = set(order[before < top_p + 1e-12].tolist())
    assert set(drawn(logits, 20, top_p=top_p)) <= nucleus


def test_draws_follow_the_softmax_at_the_given_temperature() -> None:
    logits = np.array([1.0, 0.0, -1.0, 2.0, 0.5], dtype=np.float32)
    for temperature in (0.5, 1.0, 2.0):
        expected = np.exp(logits / temperature)
        expected /= expected.sum()
        assert shares(drawn(logits, 20_000, temperature=temperature), 5) == pytest.approx(expected, abs=0.015)


def test_draws_in_the_nucleus_keep_their_proportions() -> None:
    logits = np.log(np.array([0.05, 0.4, 0.15, 0.3, 0.1], dtype=np.float32))
    assert shares(drawn(logits, 20_000, top_p=0.7), 5) == pytest.approx([0, 4 / 7, 0, 3 / 7, 0], abs=0.015)


def test_top_k_comes_before_top_p() -> None:
    # Of the two kept by top_k, the first holds 0.4 / 0.7 > 0.5 of what is left and fills the nucleus alone.
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32))
    assert set(drawn(logits, 200, top_k=2, top_p=0.5)) == {0}


def test_a_seed_repeats_itself_and_no_seed_does_not() -> None:
    logits = np.zeros(1000, dtype=np.float32)
    assert drawn(logits, 20, seed=7) == drawn(logits, 20, seed=7)
    assert drawn(logits, 20, seed=7) != drawn(logits, 20, seed=8)
    assert drawn(logits, 20, seed=None) != drawn(logits, 20, seed=None)


def test_a_negative_seed_is_as_good_as_any() -> None:
    logits = np.zeros(1000, dtype=np.float32)
    assert drawn(logits, 20, seed=-1) == drawn(logits, 20, seed=2**64 - 1)


@given(logits_of_any_kind)
def test_log_probabilities_are_those_of_the_raw_logits(logits: np.ndarray) -> None:
    values = [log_probability(logits, token) for token in range(logits.size)]
    assert math.fsum(math.exp(value) for value in values) == pytest.approx(1.0)
    assert int(np.argmax(values)) == int(logits.argmax())
