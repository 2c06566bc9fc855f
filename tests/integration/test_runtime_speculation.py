"""Drafts from the context, with the real model: the same answers to the bit, in fewer passes."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.answers import Answer

from slipway.contract.generation import Delta, Grammar, SamplingParams
from slipway.contract.manifest import Manifest
from slipway.runtime.engine import Engine
from slipway.runtime.executors.base import MAX_ROWS
from slipway.runtime.executors.choice import open_executor
from slipway.text.tokenizer import Tokenizer

TEXTS = (
    '{"id": 1, "shape": "circle", "x": 10}\n{"id": 2, "shape": "square", "x": 20}\n{"id": 3,',
    "A list of shapes:\n1. circle at (12, 40), colour red\n2. square at (30, 25), colour blue\n3.",
    "Once upon a time, in a small village by the sea, there lived an old fisherman who",
    "la la la la la la la la",
)
GREEDY = SamplingParams(max_tokens=24, temperature=0.0, log_probs=True, ignore_eos=True)
DRAWN = SamplingParams(
    max_tokens=16, temperature=0.8, top_p=0.9, repetition_penalty=1.05, seed=7, log_probs=True
)
RECORDS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "shape": {"enum": ["circle", "square"]}},
        "required": ["id", "shape"],
        "additionalProperties": False,
    },
    "minItems": 9,
}
BOUND = replace(DRAWN, temperature=0.3, grammar=Grammar("json_schema", json.dumps(RECORDS)))
STOPPED = replace(GREEDY, ignore_eos=False, min_tokens=3, top_log_probs=2)


@pytest.fixture(scope="module")
def prompts(each_engine_dir: Path) -> list[list[int]]:
    tokenizer = Tokenizer.load(each_engine_dir)
    return [tokenizer.encode(text) for text in TEXTS]


@pytest.fixture(scope="module")
def expected(each_engine_dir: Path, prompts: list[list[int]]) -> dict[SamplingParams, list[Delta]]:
    """Every answer as it is without drafts."""
    with closing(Engine(each_engine_dir, speculation=False)) as engine:
        answers = {
            sampling: [Answer(engine, "plain", prompt, sampling).exact() for prompt in prompts]
            for sampling in (GREEDY, DRAWN, BOUND)
        }
        comma = Tokenizer.load(each_engine_dir).encode(",")[-1]
        stopped = replace(STOPPED, stop_token_ids=((comma,),))
        answers[stopped] = [Answer(engine, "plain", prompt, stopped).exact() for prompt in prompts]
        assert engine.stats.draft_tokens == 0
    return answers


@pytest.fixture(scope="module")
def engine(each_engine_dir: Path) -> Iterator[Engine]:
    with closing(Engine(each_engine_dir)) as engine:
        yield engine


def test_several_tokens_in_one_pass_get_the_bits_of_one_by_one_however_many_they_are(
    each_engine_dir: Path, prompts: list[list[int]]
) -> None:
    manifest = Manifest.read(each_engine_dir)
    executor = open_executor(each_engine_dir, manifest, slots=2, max_len=128, threads=2, on_cpu=False)
    executor.prefill(1, prompts[1])
    answer = prompts[2][:MAX_ROWS]
    assert len(answer) == MAX_ROWS
    one_by_one = [executor.decode([1], [token])[0].copy() for token in answer]
    executor.rewind(1, MAX_ROWS)
    for rows in (2, 3, 5, 6, 9, MAX_ROWS):
        [together] = executor.extend([1], [answer[:rows]])
        assert all((row == alone).all() for row, alone in zip(together, one_by_one, strict=False)), rows
        executor.rewind(1, rows)


def test_drafts_of_several_requests_share_a_pass_with_the_bits_of_passes_of_their_own(
    openvino_engine_dir: Path, prompts: list[list[int]]
) -> None:
    manifest = Manifest.read(openvino_engine_dir)
    executor = open_executor(openvino_engine_dir, manifest, slots=4, max_len=128, threads=2, on_cpu=False)
    answers = [prompts[2][:5], prompts[1][:1], prompts[0][:9], prompts[1][3:6]]
    alone = []
    for slot, answer in enumerate(answers):
        executor.prefill(slot, prompts[slot])
        alone.append([each.copy() for each in executor.extend([slot], [answer])[0]])
        executor.rewind(slot, len(answer))
    together = executor.extend(range(4), answers)
    assert all(
        (row == other).all()
        for rows, others in zip(together, alone, strict=True)
        for row, other in zip(rows, others, strict=True)
    )


def test_an_answer_is_the_same_to_the_bit_with_drafts_and_without(
    engine: Engine, prompts: list[list[int]], expected: dict[SamplingParams, list[Delta]]
) -> None:
    for sampling, answers in expected.items():
        assert [Answer(engine, "drafted", prompt, sampling).exact() for prompt in prompts] == answers
    assert engine.stats.accepted_tokens > 0


def test_an_answer_is_the_same_to_the_bit_beside_others_that_draft_too(
    engine: Engine, prompts: list[list[int]], expected: dict[SamplingParams, list[Delta]]
) -> None:
    for sampling, answers in expected.items():
        pair = [Answer(engine, f"{copy}", prompts[0], sampling) for copy in range(2)]
        assert [answer.exact() for answer in pair] == [answers[0]] * 2
        together = [Answer(engine, f"{index}", prompt, sampling) for index, prompt in enumerate(prompts)]
        assert [answer.exact() for answer in together] == answers


def test_repetitive_output_comes_several_tokens_at_a_time(engine: Engine, prompts: list[list[int]]) -> None:
    # Drafts are not tried where passes over several rows seemed dear, as on a machine that was busy just now.
    for _ in range(20):
        before = engine.stats
        deltas = Answer(engine, "records", prompts[0], GREEDY).rest()
        assert sum(delta.token_count for delta in deltas) == GREEDY.max_tokens
        if len(deltas) < GREEDY.max_tokens:
            break
    assert len(deltas) < GREEDY.max_tokens
    assert all(len(delta.log_probs) == len(delta.token_ids) == delta.token_count for delta in deltas)
    stats = engine.stats
    accepted = stats.accepted_tokens - before.accepted_tokens
    assert accepted == GREEDY.max_tokens - len(deltas), "every token but one a pass was a draft"
    assert stats.draft_tokens - before.draft_tokens >= accepted
