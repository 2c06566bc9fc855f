import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from slipway.contract.generation import SamplingParams
from slipway.runtime.sampling.log_probs import log_probability, top_log_probs
from slipway.runtime.sampling.sampler import Sampler, largest


def _among_others(told: list[float], others: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = np.concatenate([np.float32(told), random.uniform(-60, 60, others).astype(np.float32)])
    return random.permutation(np.unique(values))


# A few numbers of any kind among many drawn at once: 200 told one by one would take most of a test's time.
logits_of_any_kind = st.builds(
    _among_others,
    st.lists(st.floats(-60, 60, width=32), min_size=2, max_size=8, unique=True),
    st.integers(0, 192),
    st.integers(0, 2**32),
)


def drawn(
    logits: np.ndarray,
    count: int,
    prompt: tuple[int, ...] = (),
    eos: tuple[int, ...] = (),
    **sampling: object,
) -> list[int]:
    params = SamplingParams(**{"max_tokens": count, "seed": 1, **sampling})  # type: ignore[arg-type]
    sampler = Sampler(params, prompt, frozenset(eos))
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
    least = probabilities[order[before < top_p + 1e-12]].min()
    # Which of several that differ by less than rounding is in it, the float32 of the sampler may say.
    nucleus = set(np.flatnonzero(probabilities >= least * (1 - 1e-6)).tolist())
    assert set(drawn(logits, 20, top_p=top_p)) <= nucleus


def test_draws_follow_the_softmax_at_the_given_temperature() -> None:
    logits = np.array([1.0, 0.0, -1.0, 2.0, 0.5], dtype=np.float32)
    for temperature in (0.5, 1.0, 2.0):
        expected = np.exp(logits / temperature)
        expected /= expected.sum()
        assert shares(drawn(logits, 5_000, temperature=temperature), 5) == pytest.approx(expected, abs=0.02)


def test_draws_in_the_nucleus_keep_their_proportions() -> None:
    logits = np.log(np.array([0.05, 0.4, 0.15, 0.3, 0.1], dtype=np.float32))
    assert shares(drawn(logits, 5_000, top_p=0.7), 5) == pytest.approx([0, 4 / 7, 0, 3 / 7, 0], abs=0.02)


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
    assert values[int(logits.argmax())] == max(values)  # logits closer than a float64 sum can tell are even


@given(logits_of_any_kind, st.integers(1, 20))
def test_the_top_are_the_likeliest_in_order_with_their_own_log_probabilities(
    logits: np.ndarray, count: int
) -> None:
    top = top_log_probs(logits, count)
    assert list(top.token_ids) == np.argsort(-logits, kind="stable")[:count].tolist()
    assert list(top.log_probs) == [log_probability(logits, token) for token in top.token_ids]


def test_of_equally_likely_tokens_the_lower_id_comes_first() -> None:
    assert top_log_probs(np.zeros(6, dtype=np.float32), 6).token_ids == (0, 1, 2, 3, 4, 5)


@given(
    arrays.arrays(np.float32, st.integers(1, 3000), elements=st.floats(-9, 9, width=32)),
    st.integers(1, 40),
)
def test_the_largest_are_the_largest_whatever_the_size_and_however_many_are_equal(
    values: np.ndarray, count: int
) -> None:
    found = largest(values, count)
    assert len(set(found.tolist())) == min(count, values.size)
    assert sorted(values[found]) == sorted(values)[-count:]


@given(logits_of_any_kind, st.floats(0.01, 1))
def test_min_p_draws_only_what_is_at_least_that_fraction_of_the_likeliest(
    logits: np.ndarray, min_p: float
) -> None:
    fractions = np.exp(logits.astype(np.float64) - logits.max())
    kept = set(np.flatnonzero(fractions >= min_p * (1 - 1e-5)).tolist())
    assert set(drawn(logits, 20, min_p=min_p)) <= kept


def test_draws_over_a_whole_vocabulary_reach_every_part_of_it_in_proportion() -> None:
    logits = np.zeros(5000, dtype=np.float32)
    logits[2500:] = np.log(3)
    draws = np.array(drawn(logits, 5_000))
    assert np.mean(draws >= 2500) == pytest.approx(0.75, abs=0.02)
    assert np.mean(draws % 2500 < 256) == pytest.approx(256 / 2500, abs=0.02)
    assert draws.max() > 4900


@given(logits_of_any_kind, st.data())
def test_a_token_in_the_prompt_or_the_answer_is_penalised_once_by_the_repetition_penalty(
    logits: np.ndarray, data: st.DataObject
) -> None:
    prompt = tuple(data.draw(st.lists(st.integers(0, logits.size - 1), max_size=5)))
    expected, seen = [], set(prompt)
    for _ in range(4):
        scores = logits.copy()
        for token in seen:
            scores[token] = (
                scores[token] * np.float32(2) if scores[token] < 0 else scores[token] / np.float32(2)
            )
        expected.append(int(scores.argmax()))
        seen.add(expected[-1])
    assert drawn(logits, 4, prompt, temperature=0.0, repetition_penalty=2.0) == expected


@given(logits_of_any_kind, st.floats(-2, 2), st.floats(-2, 2))
def test_presence_and_frequency_count_the_answer_and_not_the_prompt(
    logits: np.ndarray, presence: float, frequency: float
) -> None:
    expected: list[int] = []
    for _ in range(6):
        scores = logits.copy()
        for token in set(expected):
            scores[token] -= np.float32(frequency) * np.float32(expected.count(token))
            scores[token] -= np.float32(presence)
        expected.append(int(scores.argmax()))
    penalties = {"presence_penalty": presence, "frequency_penalty": frequency}
    assert drawn(logits, 6, prompt=(int(logits.argmax()),), temperature=0.0, **penalties) == expected


def test_a_bias_moves_a_token_up_and_down() -> None:
    logits = np.array([0.0, 1.0, 2.0], dtype=np.float32)
    assert drawn(logits, 1, temperature=0.0, logit_bias=((0, 2.5),)) == [0]
    assert set(drawn(logits, 200, logit_bias=((2, -100.0), (1, -100.0)))) == {0}


def test_no_end_of_sequence_is_chosen_before_min_tokens() -> None:
    logits = np.array([5.0, 4.0, 1.0], dtype=np.float32)
    assert drawn(logits, 4, eos=(0, 1), temperature=0.0, min_tokens=3) == [2, 2, 2, 0]


def test_a_bad_sequence_is_never_completed_also_not_one_that_the_prompt_began() -> None:
    logits = np.array([5.0, 4.0, 3.0, 1.0], dtype=np.float32)
    greedy = {"temperature": 0.0, "bad_token_ids": ((1,), (3, 0), (0, 0, 0))}
    assert drawn(logits, 5, prompt=(3,), **greedy) == [2, 0, 0, 2, 0]


def test_a_ban_on_everything_still_gives_a_token() -> None:
    logits = np.zeros(2, dtype=np.float32)
    for temperature in (0.0, 1.0, 1e-4):
        assert drawn(logits, 1, temperature=temperature, bad_token_ids=((0,), (1,)))[0] in (0, 1)


@given(logits_of_any_kind, st.integers(0, 2**64 - 1))
def test_neutral_values_change_no_draw(logits: np.ndarray, seed: int) -> None:
    neutral = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "min_p": 0.0}
    bias = {"logit_bias": ((0, 0.0),)}
    assert drawn(logits, 5, seed=seed, **neutral, **bias) == drawn(logits, 5, seed=seed)


def test_a_banned_token_is_no_likelier_than_one_that_a_grammar_forbids() -> None:
    masked = np.full(8, -np.inf, np.float32)
    masked[[5, 6]] = 0.0
    bans = {"bad_token_ids": ((1,), (5,), (6,))}
    assert set(drawn(masked, 20, **bans)) <= {5, 6}
    assert drawn(masked, 1, temperature=0.0, **bans) == [5]


def test_only_possible_tokens_are_among_the_likeliest() -> None:
    masked = np.full(300, -np.inf, np.float32)
    masked[[5, 6]] = (0.0, 1.0)
    assert top_log_probs(masked, 20).token_ids == (6, 5)
