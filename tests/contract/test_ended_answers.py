"""The engine stops soon after an answer has ended for its client, on every backend; counted in tokens."""

from collections.abc import Callable

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types import Completion
from support.gateways import Gateway
from support.waiting import wait_until

# The engine would go on to 8,000 tokens. On a free machine it makes 1 to 4 more: those of the running step
# and those on their way to the client. A busy machine has more on their way.
MAX_FURTHER = 100
# Sampled, so that a step makes one token.
STORY = {"prompt": "Once upon a time", "temperature": 1.2, "seed": 7, "logprobs": 0}
ENDLESS = {"ignore_eos": True, "max_tokens": 8000}


def token_count(completion: Completion) -> int:
    """Return the number of tokens in it."""
    return sum(len(choice.logprobs.tokens) for choice in completion.choices if choice.logprobs)


def leave(client: OpenAI, model: str) -> int:
    tokens = 0
    with client.completions.create(model=model, **STORY, stream=True, extra_body=ENDLESS) as stream:
        for chunk in stream:
            tokens += token_count(chunk)
            if tokens > 10:
                return tokens
    raise AssertionError("an endless answer ended")


def wait_too_long(client: OpenAI, model: str) -> int:
    asked = {"model": model, "extra_body": ENDLESS | {"timeout": 1}, **STORY}
    stream = client.completions.create(**asked, stream=True)
    received: list[Completion] = []
    with pytest.raises(openai.APIError) as caught:
        received.extend(stream)
    assert caught.value.code == "deadline_exceeded"
    return sum(map(token_count, received))


def stop_at_a_string(client: OpenAI, model: str) -> int:
    answer = client.completions.create(model=model, **STORY, stop=".", extra_body=ENDLESS)
    assert answer.choices[0].finish_reason == "stop"
    return token_count(answer)


@pytest.mark.parametrize("end", [leave, wait_too_long, stop_at_a_string])
def test_the_engine_generates_few_tokens_after_the_end(
    client: OpenAI, gateway: Gateway, end: Callable[[OpenAI, str], int]
) -> None:
    before = gateway.metric("slipway_generated_tokens_total")
    received = end(client, gateway.model)
    wait_until(lambda: gateway.running_requests() == 0)
    generated = gateway.metric("slipway_generated_tokens_total") - before
    assert 0 < received <= generated <= received + MAX_FURTHER


def test_a_client_that_leaves_before_the_answer_frees_its_slot(gateway: Gateway) -> None:
    body = {"model": gateway.model, "prompt": "1, 2, 3,", "temperature": 0} | ENDLESS
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{gateway.url}/v1/completions", json=body, timeout=0.3)
    wait_until(lambda: gateway.running_requests() == 0)
