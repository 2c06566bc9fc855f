"""How likely the tokens of a prompt are, from logits that come in parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.contract.errors import EngineFailed
from slipway.contract.generation import Delta, PromptLogProbs, SamplingParams
from slipway.runtime.prompt_scores import PromptScores
from slipway.runtime.sequence import ActiveSequence

VOCAB = 50
RANDOM = np.random.default_rng(3)
PROMPT = RANDOM.integers(0, VOCAB, 12).tolist()
LOGITS = RANDOM.normal(0, 3, (12, VOCAB)).astype(np.float32)


def scored(count: int, ends: list[int]) -> PromptLogProbs:
    scores = PromptScores(PROMPT, count)
    for start, end in zip([0, *ends], [*ends, len(PROMPT)], strict=True):
        scores.add(LOGITS[start:end])
    return scores.result()


def test_a_token_is_as_likely_as_the_logits_before_it_say() -> None:
    log_probs = LOGITS - np.log(np.exp(LOGITS.astype(np.float64)).sum(axis=1, keepdims=True))
    result = scored(3, [])
    assert result.log_probs == pytest.approx([log_probs[at, token] for at, token in enumerate(PROMPT[1:])])
    order = [np.argsort(-row, kind="stable").tolist() for row in LOGITS]
    assert result.ranks == tuple(order[at].index(token) + 1 for at, token in enumerate(PROMPT[1:]))
    assert [top.token_ids for top in result.top] == [tuple(each[:3]) for each in order[:-1]]


@given(st.sets(st.integers(1, 11)), st.integers(0, 20))
def test_the_parts_in_which_a_prompt_is_read_change_nothing(ends: set[int], count: int) -> None:
    assert scored(count, sorted(ends)) == scored(count, [])


def test_a_token_that_is_the_likeliest_has_the_very_number_that_the_likeliest_has() -> None:
    result = scored(1, [])
    for log_prob, rank, top in zip(result.log_probs, result.ranks, result.top, strict=True):
        assert (log_prob == top.log_probs[0]) == (rank == 1)


def sequence(prompt: list[int], **sampling: object) -> ActiveSequence:
    params = SamplingParams(**{"max_tokens": 4, "temperature": 0.0, **sampling})  # type: ignore[arg-type]
    return ActiveSequence(prompt, params, (0,), on_event=lambda event: None)


def test_they_come_with_the_first_token_or_with_the_end_of_an_answer_without_tokens() -> None:
    for max_tokens, ids, finish in ((4, (5,), None), (0, (), "length")):
        asked = sequence(PROMPT, max_tokens=max_tokens, prompt_log_probs=0)
        asked.score(LOGITS)
        first = asked.begin(np.eye(VOCAB, dtype=np.float32)[5], 0)
        assert (first.token_ids, first.finish_reason, first.prompt) == (ids, finish, scored(0, []))
    assert sequence(PROMPT).begin(LOGITS[-1], 3).prompt is None


def test_a_prompt_of_one_token_has_nothing_to_tell() -> None:
    assert sequence([7], prompt_log_probs=2).begin(LOGITS[0], 0).prompt == PromptLogProbs((), ())


def test_a_model_whose_numbers_overflow_on_the_prompt_fails_the_request() -> None:
    asked = sequence(PROMPT, prompt_log_probs=0)
    asked.score(np.where(np.arange(VOCAB) == 7, np.nan, LOGITS).astype(np.float32))
    assert isinstance(asked.refusal, EngineFailed)
    with pytest.raises(EngineFailed, match="computed nan in place of logits"):
        raise asked.refusal


def test_the_token_that_ends_an_answer_is_reported_where_asked_for_and_never_counted() -> None:
    end = np.eye(VOCAB, dtype=np.float32)[0]
    assert sequence(PROMPT, log_probs=True).advance(end) == Delta(finish_reason="stop")
    reported = sequence(PROMPT, log_probs=True, top_log_probs=1, report_end=True).advance(end)
    assert (reported.token_ids, reported.token_count, reported.finish_reason) == ((0,), 0, "stop")
    assert reported.log_probs == reported.top_log_probs[0].log_probs
