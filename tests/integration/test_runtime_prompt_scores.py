"""How likely a prompt is, by the real engine: exact in any company, and without an effect on the answer."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.answers import Answer

from slipway.contract.generation import Delta, PromptLogProbs, SamplingParams
from slipway.runtime.engine import Engine
from slipway.runtime.executors.onnxruntime import SlotExecutor
from slipway.runtime.prompt_scores import PromptScores
from slipway.runtime.sequence import joined

PLAIN = SamplingParams(max_tokens=6, temperature=0.0, log_probs=True, ignore_eos=True)
SCORED = replace(PLAIN, prompt_log_probs=3)
ALONE = replace(SCORED, max_tokens=0)
ENDLESS = SamplingParams(max_tokens=4000, temperature=0.0, ignore_eos=True)


def prompt(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 49_000, length).tolist()


PROMPTS = [prompt(length, seed=length) for length in (2, 33, 49, 120)]


@pytest.fixture(scope="module", params=["int4", "int8"])
def directory(request: pytest.FixtureRequest) -> Path:
    made: Path = request.getfixturevalue("engine_dir" if request.param == "int4" else "int8_engine_dir")
    return made


@pytest.fixture(scope="module")
def engine(directory: Path) -> Iterator[Engine]:
    with closing(Engine(directory)) as engine:
        yield engine


def scores(answer: Answer) -> PromptLogProbs:
    told = answer.exact().prompt
    assert told is not None
    return told


def test_a_prompt_has_the_same_numbers_alone_and_beside_others(engine: Engine) -> None:
    alone = [scores(Answer(engine, "alone", tokens, ALONE)) for tokens in PROMPTS]
    assert [len(each.log_probs) for each in alone] == [len(tokens) - 1 for tokens in PROMPTS]
    streams = [Answer(engine, f"stream-{row}", prompt(20, seed=row), ENDLESS) for row in range(3)]
    for stream in streams:
        stream.next()
    # Beside streams the chunks are short, and with answers the last tokens are read twice.
    among = [
        Answer(engine, f"{index}", tokens, SCORED if index % 2 else ALONE)
        for index, tokens in enumerate(PROMPTS)
    ]
    assert [scores(answer) for answer in among] == alone
    assert min(stream.heard() for stream in streams) > len(PROMPTS), "the others went on"
    for stream in streams:
        engine.cancel(stream.request_id)
        stream.rest()


def test_scores_do_not_change_a_bit_of_the_answer_nor_what_is_kept(engine: Engine) -> None:
    for length in (2, 20, 60):
        tokens = prompt(length, seed=1000 + length)
        plain = joined(Answer(engine, "plain", tokens, PLAIN).rest())
        assert plain.cached_tokens == 0
        scored = joined(Answer(engine, "scored", tokens, SCORED).rest())
        assert replace(scored, prompt=None) == plain, "each token is read, whatever the cache has"
        later = joined(Answer(engine, "later", tokens, PLAIN).rest())
        assert later.cached_tokens == (length - 2 if length > 17 else 0)
        assert replace(later, cached_tokens=0) == plain


def test_a_prompt_without_an_answer_ends_at_its_length(engine: Engine) -> None:
    assert Answer(engine, "empty", [5], replace(PLAIN, max_tokens=0)).rest() == [
        Delta(finish_reason="length", cached_tokens=0)
    ]


def test_the_logits_are_those_after_each_token(directory: Path) -> None:
    executor = SlotExecutor(directory, slots=2, max_len=256, threads=2)
    tokens = prompt(60)
    parts = [executor.prefill_each(0, tokens[start:stop]) for start, stop in ((0, 20), (20, 53), (53, 60))]
    rows = np.concatenate(parts)
    for length in (2, 19, 20, 21, 60):
        executor.release(1)
        assert np.allclose(rows[length - 1], executor.prefill(1, tokens[:length]), atol=1e-3)
    together = PromptScores(tokens, 2)
    together.add(rows)
    in_parts = PromptScores(tokens, 2)
    for part in parts:
        in_parts.add(part)
    assert in_parts.result() == together.result()
    assert (executor.prefill(0, [7, 8]) == executor.prefill(1, [7, 8])).all(), "the cache has the same bits"
