"""An answer that nobody waits for any more ends in the engine, on every backend: counted in tokens."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types import Completion
from support.gateway_replies import comes_true
from support.gateways import Gateway
from support.paths import ROOT

# Of the 8,000 that the engine would go on to. `python -m bench ended` counts on a free machine what a step
# makes and what is on its way meanwhile; a busy one may have more on its way.
MOST_FURTHER = 100
# Drawn, so that no step makes several tokens at once.
STORY = {"prompt": "Once upon a time", "temperature": 1.2, "seed": 7, "logprobs": 0}
ENDLESS = {"ignore_eos": True}


def read(completion: Completion) -> int:
    """How many tokens a client got with it."""
    return sum(len(choice.logprobs.tokens) for choice in completion.choices if choice.logprobs)


def leave(client: OpenAI, model: str) -> int:
    tokens = 0
    with client.completions.create(model=model, **STORY, stream=True, extra_body=ENDLESS) as stream:
        for chunk in stream:
            tokens += read(chunk)
            if tokens > 10:
                return tokens
    raise AssertionError("an endless answer ended")


def wait_too_long(client: OpenAI, model: str) -> int:
    asked = {"model": model, "extra_body": ENDLESS | {"timeout": 1}, **STORY}
    stream = client.completions.create(**asked, stream=True)
    had: list[Completion] = []
    with pytest.raises(openai.APIError) as caught:
        had.extend(stream)
    assert caught.value.code == "deadline_exceeded"
    return sum(map(read, had))


def stop_at_a_string(client: OpenAI, model: str) -> int:
    answer = client.completions.create(model=model, **STORY, stop=".", extra_body=ENDLESS)
    assert answer.choices[0].finish_reason == "stop"
    return read(answer)


@pytest.mark.parametrize("end", [leave, wait_too_long, stop_at_a_string])
def test_the_engine_goes_on_for_a_few_tokens_at_most(
    client: OpenAI, gateway: Gateway, end: Callable[[OpenAI, str], int]
) -> None:
    before = gateway.metric("slipway_generated_tokens_total")
    had = end(client, gateway.model)
    assert comes_true(lambda: gateway.running_requests() == 0)
    made = gateway.metric("slipway_generated_tokens_total") - before
    assert 0 < had <= made <= had + MOST_FURTHER


@pytest.mark.parametrize("gateway", ["local"], indirect=True)  # one is enough to try the command
def test_the_command_counts_them_for_each_cause(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench", "ended", "--url", gateway.url, "--rounds", "1"]
    subprocess.run([*command, "--json", str(file)], cwd=ROOT, check=True, timeout=60, capture_output=True)
    samples = json.loads(file.read_text())["samples"]
    assert [sample["cause"] for sample in samples] == [
        "the client left",
        "a deadline passed",
        "a stop string",
    ]
    assert all(0 <= sample["too_many"] <= MOST_FURTHER for sample in samples)
    assert all(sample["token_s"] > 0 for sample in samples)


def test_a_client_that_leaves_before_the_answer_frees_its_slot(gateway: Gateway) -> None:
    body = {"model": gateway.model, "prompt": "1, 2, 3,", "temperature": 0} | ENDLESS
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{gateway.url}/v1/completions", json=body, timeout=0.3)
    assert comes_true(lambda: gateway.running_requests() == 0)
