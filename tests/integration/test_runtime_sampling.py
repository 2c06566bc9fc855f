"""Every way to choose a token, in the engine with the real model and with neighbours."""

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.answers import Answer

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import SamplingParams
from slipway.runtime.engine import Engine
from slipway.text.tokenizer import Tokenizer

EVERYTHING = SamplingParams(
    max_tokens=32,
    min_tokens=32,
    temperature=1.2,
    top_p=0.95,
    top_k=200,
    min_p=0.01,
    repetition_penalty=1.2,
    presence_penalty=0.5,
    frequency_penalty=0.3,
    logit_bias=((30, 2.0), (260, -100.0)),
    bad_token_ids=((198,), (28, 284)),
    seed=11,
    log_probs=True,
    top_log_probs=20,
)


@pytest.fixture(scope="module")
def engine(engine_dir: Path) -> Iterator[Engine]:
    with closing(Engine(engine_dir)) as engine:
        yield engine


@pytest.fixture(scope="module")
def prompt(engine_dir: Path) -> list[int]:
    question = "<|im_start|>user\nWrite a line about the sea.<|im_end|>\n<|im_start|>assistant\n"
    return Tokenizer.load(engine_dir).encode(question)


def test_a_seed_gives_the_same_answer_and_figures_whatever_the_neighbours_ask_for(
    engine: Engine, prompt: list[int]
) -> None:
    alone = Answer(engine, "alone", prompt, EVERYTHING).exact()
    others = [
        SamplingParams(max_tokens=48, temperature=0.0, repetition_penalty=1.5),
        SamplingParams(max_tokens=48, temperature=1.5, seed=11),
        SamplingParams(max_tokens=48, temperature=0.0, logit_bias=((5, 50.0),)),
        SamplingParams(max_tokens=48, temperature=2.0, frequency_penalty=2.0),
    ]
    neighbours = [Answer(engine, f"other-{row}", prompt, other) for row, other in enumerate(others)]
    among = Answer(engine, "among", prompt, EVERYTHING).exact()
    for neighbour in neighbours:
        neighbour.rest()
    assert among == alone


def test_each_token_comes_with_the_twenty_likeliest_of_the_raw_logits(
    engine: Engine, prompt: list[int]
) -> None:
    greedy = SamplingParams(max_tokens=8, temperature=0.0, log_probs=True, top_log_probs=20)
    for delta in Answer(engine, "top", prompt, greedy).rest():
        for token, log_prob, top in zip(delta.token_ids, delta.log_probs, delta.top_log_probs, strict=True):
            assert (top.token_ids[0], top.log_probs[0]) == (token, log_prob)
            assert list(top.log_probs) == sorted(top.log_probs, reverse=True)
            assert len(set(top.token_ids)) == 20
            assert math.fsum(map(math.exp, top.log_probs)) <= 1


def test_a_biased_token_is_all_there_is_and_its_log_probability_stays_the_models(
    engine: Engine, prompt: list[int]
) -> None:
    plain = Answer(engine, "plain", prompt, SamplingParams(max_tokens=1, temperature=0.0)).tokens()
    unlikely = 4242
    biased = SamplingParams(max_tokens=3, temperature=0.0, logit_bias=((unlikely, 100.0),), log_probs=True)
    deltas = Answer(engine, "biased", prompt, biased).rest()
    assert [token for delta in deltas for token in delta.token_ids] == [unlikely] * 3 != plain * 3
    assert deltas[0].log_probs[0] < -3, "by the raw logits it is as unlikely as it was"


def test_what_cannot_be_sampled_is_refused_and_the_engine_goes_on(engine: Engine, prompt: list[int]) -> None:
    with pytest.raises(InvalidRequest, match="vocabulary of engine smollm2-135m-int4 ends at 49151"):
        Answer(engine, "no such token", prompt, SamplingParams(max_tokens=4, logit_bias=((49_152, 1.0),)))
    assert Answer(engine, "after", prompt, SamplingParams(max_tokens=4, temperature=0.0)).tokens()
