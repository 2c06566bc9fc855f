"""Several answers over one prefill, by a real engine in a worker process."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.turns import turn

from slipway.contract.generation import Delta, GenerationRequest, SamplingParams
from slipway.gateway.answers.answer import Listener, stream_answer
from slipway.gateway.answers.choices import best, candidates, collect, merge
from slipway.gateway.answers.interpretation import Interpretation
from slipway.gateway.answers.thought_limit import ThoughtLimit
from slipway.gateway.backends.local import LocalBackend
from slipway.text.answer_parser import AnswerParser
from slipway.text.reasoning import ReasoningSplitter
from slipway.text.tokenizer import Tokenizer

PROMPT = "The lighthouse keeper wrote in the log of the station, as every evening, that the sea was " * 20
EXACT = SamplingParams(max_tokens=12, temperature=1.0, seed=5, ignore_eos=True)


async def test_the_prompt_is_read_once_for_all_choices(engine_dir: Path) -> None:
    tokenizer = Tokenizer.load(engine_dir)
    prompt = tuple(tokenizer.encode(PROMPT))
    request = GenerationRequest("sea", PROMPT, prompt, EXACT)
    backend = await LocalBackend.start(engine_dir, tokenizer, engine_dir.name, threads=None)
    try:
        requests = candidates(request, 6, ranked=True)
        answers = await collect(
            merge([stream_answer(backend, each, turn(), index=at) for at, each in enumerate(requests)]), 6
        )
        assert [each.cached_tokens for each in answers] == [0] + [len(prompt) - 2] * 5
        # Each alone, with the log-probabilities as the engine gives them.
        ranks = []
        for each, whole in zip(requests, answers, strict=True):
            deltas = [delta async for delta in backend.generate(each)]
            assert "".join(delta.text for delta in deltas) == whole.text
            assert whole.log_prob == pytest.approx(sum(sum(delta.log_probs) for delta in deltas))
            ranks.append((mean_log_prob(deltas), whole.text))
        assert [whole.text for whole in best(answers, 3)] == [text for _, text in sorted(ranks)[:-4:-1]]
    finally:
        await backend.close()


async def test_a_thought_is_ended_and_answered_by_a_real_engine(engine_dir: Path) -> None:
    tokenizer = Tokenizer.load(engine_dir)
    prompt = tuple(tokenizer.encode(f"{PROMPT}<think>\n"))
    request = GenerationRequest("sea", "", prompt, replace(EXACT, max_tokens=40))
    limit = ThoughtLimit(10, 1000, tokenizer)
    backend = await LocalBackend.start(engine_dir, tokenizer, engine_dir.name, threads=None)
    try:
        free = [delta async for delta in backend.generate(request)]
        reading = Interpretation(AnswerParser(ReasoningSplitter(tokenizer.text(prompt)), None))
        listener = Listener(reading, thought_limit=limit)
        [whole] = await collect(stream_answer(backend, request, turn(), listener), 1)
    finally:
        await backend.close()
    thought = tokenizer.decode([token for delta in free for token in delta.token_ids][:10])
    assert whole.reasoning == f"{thought}\n".lstrip("\n"), "it is cut, and otherwise the same"
    assert whole.text
    assert (whole.tokens, whole.finish_reason) == (40, "length")


def mean_log_prob(deltas: list[Delta]) -> float:
    log_probs = [log_prob for delta in deltas for log_prob in delta.log_probs]
    assert len(log_probs) == EXACT.max_tokens
    return sum(log_probs) / len(log_probs)
