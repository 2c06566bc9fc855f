import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.contract.errors import EngineFailed
from slipway.contract.generation import Delta, SamplingParams
from slipway.runtime.sequence import ActiveSequence, joined

VOCAB = 10
EOS = 0


def answer(tokens: list[int], **sampling: object) -> list[Delta]:
    """What a client sees when the model's likeliest tokens are `tokens`, one after another."""
    params = SamplingParams(**{"max_tokens": 100, "temperature": 0.0, **sampling})  # type: ignore[arg-type]
    sequence = ActiveSequence((1,), params, (EOS,), on_event=lambda event: None)
    deltas = []
    for token in tokens:
        deltas.append(sequence.advance(np.eye(VOCAB, dtype=np.float32)[token]))
        if deltas[-1].finish_reason:
            break
    return deltas


def ids(deltas: list[Delta]) -> list[int]:
    return [token for delta in deltas for token in delta.token_ids]


def test_end_of_sequence_stops_and_is_neither_shown_nor_counted() -> None:
    deltas = answer([3, 4, EOS, 5])
    assert ids(deltas) == [3, 4]
    assert sum(delta.token_count for delta in deltas) == 2
    assert deltas[-1] == Delta(finish_reason="stop")


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 3, "top_p": 0.9}]
)
def test_a_model_whose_numbers_overflow_fails_the_answer_instead_of_making_one_up(
    broken: float, sampling: dict[str, float]
) -> None:
    params = SamplingParams(**{"max_tokens": 9, "temperature": 0.0, **sampling})  # type: ignore[arg-type]
    sequence = ActiveSequence((1,), params, (EOS,), on_event=lambda event: None)
    logits = 100 * np.eye(VOCAB, dtype=np.float32)[3]  # sampled or not, token 3 comes
    assert sequence.advance(logits).finish_reason is None
    logits[7] = broken
    assert sequence.advance(logits) == Delta(finish_reason="cancelled")
    assert isinstance(sequence.refusal, EngineFailed)
    assert f"computed {broken} in place of logits" in str(sequence.refusal)


def test_ignore_eos_goes_on_to_max_tokens_and_shows_every_token() -> None:
    deltas = answer([3, EOS, 5, 6], ignore_eos=True, max_tokens=3)
    assert ids(deltas) == [3, EOS, 5]
    assert deltas[-1].finish_reason == "length"


def test_a_request_may_name_its_own_end_of_sequence() -> None:
    assert ids(answer([3, EOS, 7, 4], eos_token_ids=(7, 8))) == [3, EOS]


def test_a_stop_sequence_ends_the_answer_and_stays_in_it() -> None:
    deltas = answer([3, 5, 4, 5, 6, 7], stop_token_ids=((5, 6), (9,)))
    assert ids(deltas) == [3, 5, 4, 5, 6]
    assert deltas[-1].finish_reason == "stop"


def test_a_stop_sequence_does_not_match_the_prompt() -> None:
    assert ids(answer([5, 3, EOS], stop_token_ids=((1, 5),))) == [5, 3]


def test_log_probabilities_come_only_when_asked_for() -> None:
    assert answer([3])[0].log_probs == ()
    [log_prob] = answer([3], log_probs=True)[0].log_probs
    assert log_prob == pytest.approx(np.log(np.e / (np.e + VOCAB - 1)))


def test_a_stop_sequence_is_not_looked_for_before_min_tokens() -> None:
    assert ids(answer([3, 4, 3, 5, 3, 4], stop_token_ids=((3,),), min_tokens=2)) == [3, 4, 3]


def test_min_tokens_keeps_end_of_sequence_away() -> None:
    deltas = answer([EOS, EOS, EOS], min_tokens=2)
    assert len(ids(deltas)) == 2
    assert EOS not in ids(deltas)
    assert deltas[-1] == Delta(finish_reason="stop")


def test_the_likeliest_tokens_come_with_each_token_when_asked_for() -> None:
    [delta] = answer([3], log_probs=True, top_log_probs=4, max_tokens=1)
    [top] = delta.top_log_probs
    assert top.token_ids == (3, 0, 1, 2)
    assert top.log_probs[0] == delta.log_probs[0] > top.log_probs[1]
    assert answer([3], log_probs=True)[0].top_log_probs == ()


@given(
    tokens=st.lists(st.integers(0, VOCAB - 1), min_size=20, max_size=20),
    max_tokens=st.integers(1, 15),
    stops=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple), max_size=3).map(tuple),
)
def test_every_answer_ends_once_and_says_why(
    tokens: list[int], max_tokens: int, stops: tuple[tuple[int, ...], ...]
) -> None:
    deltas = answer(tokens, max_tokens=max_tokens, stop_token_ids=stops)
    output = ids(deltas)
    assert all(delta.finish_reason is None for delta in deltas[:-1])
    assert len(output) <= max_tokens
    stopped = any(tuple(output[-len(stop) :]) == stop for stop in stops)
    ended = len(output) < len(deltas)
    assert deltas[-1].finish_reason == ("stop" if stopped or ended else "length")


@given(
    tokens=st.lists(st.integers(0, VOCAB - 1), min_size=20, max_size=20),
    drafts=st.lists(st.lists(st.integers(0, VOCAB - 1), max_size=6), min_size=20, max_size=20),
    right=st.lists(st.integers(0, 6), min_size=20, max_size=20),
    max_tokens=st.integers(1, 15),
    stops=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple), max_size=2).map(tuple),
)
def test_the_answer_is_the_same_whatever_was_drafted(
    tokens: list[int],
    drafts: list[list[int]],
    right: list[int],
    max_tokens: int,
    stops: tuple[tuple[int, ...], ...],
) -> None:
    expected = answer(tokens, max_tokens=max_tokens, stop_token_ids=stops, log_probs=True)
    params = SamplingParams(max_tokens=max_tokens, temperature=0.0, stop_token_ids=stops, log_probs=True)
    sequence = ActiveSequence((1,), params, (EOS,), on_event=lambda event: None)
    deltas: list[Delta] = []
    at = 0
    for draft, good in zip(drafts, right, strict=True):
        guess = [*tokens[at : at + good], *draft][: len(tokens) - at - 1]
        rows = [np.eye(VOCAB, dtype=np.float32)[token] for token in tokens[at : at + len(guess) + 1]]
        delta, taken = sequence.accept(guess, rows)
        deltas.append(delta)
        at += taken
        assert delta.token_count == len(delta.token_ids) == len(delta.log_probs)
        if delta.finish_reason:
            break
    assert joined(deltas) == joined(expected)


def repeating(**sampling: object) -> ActiveSequence:
    """A sequence that has said 3 and 4 over and over."""
    params = SamplingParams(**{"max_tokens": 12, "temperature": 0.0, **sampling})  # type: ignore[arg-type]
    return ActiveSequence((3, 4) * 9, params, (EOS,), on_event=lambda event: None)


def test_a_draft_is_taken_as_far_as_it_is_right_and_one_token_further() -> None:
    rows = [np.eye(VOCAB, dtype=np.float32)[token] for token in (3, 4, 5, 6)]
    delta, taken = repeating().accept((3, 4, 9), rows)
    assert (delta.token_ids, taken) == ((3, 4, 5), 3)


def test_no_step_goes_past_the_longest_answer_or_straddles_the_shortest() -> None:
    sequence = repeating(min_tokens=5)
    for token, most in ((3, 3), (4, 2), (3, 1), (4, 0), (3, 6), (4, 5)):
        sequence.advance(np.eye(VOCAB, dtype=np.float32)[token])
        assert len(sequence.chances(15)) == most
        assert len(sequence.draft(most)) == most
    assert len(sequence.chances(3)) == 3


def model(tokens: list[int]) -> np.ndarray:
    """Logits that depend on all tokens so far, few enough of them likely that drafts often come true."""
    return np.random.default_rng(tokens).normal(0, 3, VOCAB).astype(np.float32)


@given(
    drafts=st.lists(st.lists(st.integers(0, VOCAB - 1), max_size=4), min_size=15, max_size=15),
    right=st.lists(st.integers(0, 6), min_size=15, max_size=15),
    seed=st.integers(0, 1000),
)
def test_a_drawn_answer_is_the_same_whatever_was_drafted(
    drafts: list[list[int]], right: list[int], seed: int
) -> None:
    params = SamplingParams(
        max_tokens=14,
        min_tokens=4,
        temperature=0.9,
        top_p=0.95,
        seed=seed,
        repetition_penalty=1.2,
        frequency_penalty=0.5,
        bad_token_ids=((3, 4),),
        stop_token_ids=((5, 6),),
        top_log_probs=3,
    )
    plain, drafted = (ActiveSequence((1,), params, (EOS,), on_event=lambda event: None) for _ in range(2))
    expected = [plain.advance(model([]))]
    while expected[-1].finish_reason is None:
        expected.append(plain.advance(model(plain.output)))
    deltas = [drafted.advance(model([]))]
    for draft, good in zip(drafts, right, strict=True):
        if deltas[-1].finish_reason:
            break
        at = len(drafted.output)
        guess = [*plain.output[at : at + good], *draft]
        rows = [model([*drafted.output, *guess[:length]]) for length in range(len(guess) + 1)]
        deltas.append(drafted.accept(guess, rows)[0])
    assert joined(deltas) == joined(expected)
