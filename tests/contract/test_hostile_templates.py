"""A chat template that does harm stops neither the server nor another client's chat."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from support.instant_gateway import InstantGateway, instant_gateway
from support.waiting import wait_until

from bench.faults.hostile_templates import hostile_engine, send_attacks
from bench.faults.target import Target

MB = 1_000_000


@pytest.fixture(scope="module")
def gateway(engine_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstantGateway]:
    with instant_gateway(hostile_engine(engine_dir, tmp_path_factory.mktemp("hostile"))) as gateway:
        yield gateway


async def test_hostile_messages_are_refused_and_hold_up_no_other_client(gateway: InstantGateway) -> None:
    attacks = ("tuples in tuples as a key", "a text of 1,000,000,000 characters")
    sent = await send_attacks(Target(gateway.url, gateway.model), attacks)
    for stop in sent.stopped.values():
        assert (stop.status, stop.code) == (400, "chat_template_stopped")
    assert sent.disturbed_s < 5 * (2 * sent.undisturbed_s + 1)
    assert sent.memory_most - sent.memory_before < 200 * MB


@pytest.mark.parametrize("path", ["/tokenize", "/v1/messages/count_tokens", "/v1/responses"])
def test_every_api_names_the_template_and_the_limit(gateway: InstantGateway, path: str) -> None:
    messages = [{"role": "user", "content": "a text of 1,000,000,000 characters"}]
    field = "input" if path.endswith("responses") else "messages"
    body = {"model": gateway.model, field: messages}
    response = httpx.post(f"{gateway.url}{path}", json=body, timeout=60)
    assert response.status_code == 400
    error = response.json()["error"]
    assert "chat template (chat_template.jinja) was stopped at these messages" in error["message"]
    assert "makes more than 64000000 characters" in error["message"]


def test_a_process_that_renders_and_dies_is_started_again(gateway: InstantGateway) -> None:
    chat = {"model": gateway.model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    for _ in range(2):
        response = httpx.post(f"{gateway.url}/v1/chat/completions", json=chat, timeout=60)
        assert response.status_code == 200
        _kill(gateway.server.children())


def _kill(processes: list[psutil.Process]) -> None:
    assert processes
    for process in processes:
        process.kill()
    wait_until(lambda: all(process.status() == psutil.STATUS_ZOMBIE for process in processes))
