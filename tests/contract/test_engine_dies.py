"""The engine's process is killed, or stands still, while it answers."""

import time

import httpx
import openai
import pytest
from openai import OpenAI
from support.gateways import Gateway, of_the_runtime
from support.waiting import wait_until

from slipway.runtime.worker.pulse import QUIET_LOOKS

ENDLESS = {
    "prompt": "1, 2, 3, 4,",
    "temperature": 0,
    "max_tokens": 8000,
    "extra_body": {"ignore_eos": True},
}
WITHIN_S = 30


@of_the_runtime
def test_streams_end_with_an_error_and_new_requests_are_answered_within_seconds(
    gateway: Gateway, client: OpenAI
) -> None:
    asked = {"model": gateway.model, "prompt": "The capital of France is", "max_tokens": 5, "temperature": 0}
    before = client.completions.create(**asked).choices[0].text
    streams = [client.completions.create(model=gateway.model, stream=True, **ENDLESS) for _ in range(3)]
    for stream in streams:
        next(iter(stream))
    dead = gateway.engine_process()
    dead.kill()
    for stream in streams:
        with pytest.raises(
            openai.APIError, match=r"ended \(SIGKILL\) in the middle of an answer.*retry"
        ) as caught:
            for _ in stream:
                pass
        assert caught.value.code == "engine_failed"
    assert httpx.get(f"{gateway.url}/health/live").status_code == 200
    unready = httpx.get(f"{gateway.url}/health/ready")
    assert unready.status_code == 503
    assert gateway.model in unready.json()["error"]["message"]
    deadline = time.monotonic() + WITHIN_S
    after = gateway.post("/v1/completions", json=asked)
    while after.status_code == 503 and time.monotonic() < deadline:
        assert after.json()["error"]["code"] == "model_unavailable"
        assert "again" in after.json()["error"]["message"], "it comes back by itself"
        time.sleep(0.1)
        after = gateway.post("/v1/completions", json=asked)
    assert after.json()["choices"][0]["text"] == before
    assert httpx.get(f"{gateway.url}/health/ready").status_code == 200
    assert gateway.running_requests() == 0
    assert gateway.engine_process() != dead


@pytest.mark.parametrize("gateway", ["triton"], indirect=True)
def test_an_engine_that_stands_still_is_not_ready_then_killed_and_answers_again(
    gateway: Gateway, client: OpenAI
) -> None:
    asked = {"model": gateway.model, "prompt": "The capital of France is", "max_tokens": 5, "temperature": 0}
    before = client.completions.create(**asked).choices[0].text
    stream = client.completions.create(model=gateway.model, stream=True, **ENDLESS)
    next(iter(stream))
    hung = gateway.engine_process()
    hung.suspend()
    ready = f"{gateway.url}/health/ready"
    unready_s = wait_until(lambda: httpx.get(ready, timeout=10).status_code == 503)
    assert unready_s < QUIET_LOOKS + WITHIN_S
    assert hung.is_running(), "it may only be slow"
    with pytest.raises(openai.APIError, match=r"ended \(SIGKILL\) in the middle of an answer.*retry"):
        for _ in stream:
            pass
    wait_until(lambda: httpx.get(ready, timeout=10).status_code == 200)
    assert client.completions.create(**asked).choices[0].text == before
    assert gateway.running_requests() == 0
