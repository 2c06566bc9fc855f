"""LiteLLM's proxy between the official client and the server."""

import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
ASKED = {"model": "sample", "temperature": 0}
READY_TIMEOUT_S = 180
KEY = f"sk-{secrets.token_urlsafe(32)}"  # it does not start with a weak one


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("proxy")
    served = {
        "model": f"openai/{os.environ['MODEL']}",
        "api_base": os.environ["OPENAI_BASE_URL"],
        "api_key": "unused",
    }
    config = folder / "config.yaml"
    models = [{"model_name": "sample", "litellm_params": served}]
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["litellm", "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for _ in range(READY_TIMEOUT_S):
            if process.poll() is not None:
                break
            try:
                if httpx.get(f"{url}/health/liveliness").is_success:
                    yield url
                    return
            except httpx.TransportError:
                time.sleep(1)
        pytest.fail((folder / "log").read_text().strip().splitlines()[-1])
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def client(proxy: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{proxy}/v1", api_key=KEY, max_retries=0) as opened:
        yield opened


def test_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(**ASKED, messages=MESSAGES, max_tokens=64)
    assert "Paris" in answer.choices[0].message.content


def test_streamed_chat(client: OpenAI) -> None:
    chunks = client.chat.completions.create(**ASKED, messages=MESSAGES, max_tokens=64, stream=True)
    assert "Paris" in "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)


def test_responses(client: OpenAI) -> None:
    answer = client.responses.create(**ASKED, input=MESSAGES[0]["content"], max_output_tokens=64)
    assert "Paris" in answer.output_text


def test_anthropic_messages(proxy: str) -> None:
    body = {**ASKED, "messages": MESSAGES, "max_tokens": 64}
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    answer = httpx.post(f"{proxy}/v1/messages", json=body, headers=headers, timeout=60)
    assert answer.is_success, answer.text
    assert "Paris" in answer.json()["content"][0]["text"]


def test_health_check(proxy: str) -> None:
    checked = httpx.get(f"{proxy}/health", headers={"Authorization": f"Bearer {KEY}"}, timeout=60).json()
    assert checked["healthy_count"] == 1, checked["unhealthy_endpoints"]
