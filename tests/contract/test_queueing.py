"""Queueing, deadlines, bounds and the access log: one gateway with two slots and a short queue.

Without Triton, because all of this happens before the backend.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anthropic
import httpx
import openai
import pytest
from openai import OpenAI, Stream
from openai.types import Completion
from support.altered import altered
from support.gateways import Gateway
from support.servers import gateway_server
from support.waiting import wait_until

from bench.faults.full_queue import fill_queue
from bench.faults.target import Target
from bench.faults.unread_answers import unread
from slipway.contract.manifest import Manifest

SLOTS, QUEUE = 2, 4
PLACES = SLOTS + 1
DEFAULT_MAX_TOKENS = 6
ANSWERS = 5 * QUEUE
# Tokens with log-probabilities: more than the buffers of the kernel and of the server's connection hold.
UNREAD = 120
HI = [{"role": "user", "content": "Hi"}]
ENDLESS = {
    "prompt": "1, 2, 3, 4,",
    "temperature": 0,
    "max_tokens": 8000,
    "extra_body": {"ignore_eos": True},
}


@dataclass(frozen=True)
class Busy(Gateway):
    log: Path

    def anthropic(self) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.url, api_key="none", max_retries=0, timeout=60)

    def lines(self) -> list[dict[str, object]]:
        """The lines of the access log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def completions(self) -> list[dict[str, object]]:
        """The lines of completions, each written when its answer is over."""
        return [line for line in self.lines() if line["path"] == "/v1/completions"]


@pytest.fixture(scope="module")
def gateway(engine_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    folder = tmp_path_factory.mktemp("queueing")
    limits = Manifest.read(engine_dir).limits.model_copy(update={"max_batch_size": SLOTS})
    chat = {"max_tokens": DEFAULT_MAX_TOKENS}
    engine = altered(engine_dir, folder / "engine", limits=limits.model_dump(), chat=chat)
    log = folder / "log"
    options = ["--max-queue", QUEUE, "--timeout", 30, "--max-request-tokens", 40000, "--access-log"]
    with gateway_server("--engine", engine, *options, log=log) as server:
        served = (server.url, f"{server.url}/metrics", engine_dir.name, limits, server.process.pid)
        yield Busy(*served, log, default_max_tokens=DEFAULT_MAX_TOKENS)


@pytest.fixture
def busy(gateway: Busy, client: OpenAI) -> Iterator[list[Stream[Completion]]]:
    """Endless answers in all slots of the engine and in the place beside them."""
    with ExitStack() as stack:
        streams = []
        for _ in range(PLACES):
            streams.append(client.completions.create(model=gateway.model, stream=True, **ENDLESS))
            stack.callback(streams[-1].close)
        wait_until(lambda: gateway.running_requests() == SLOTS)
        yield streams
    wait_until(lambda: gateway.running_requests() == 0)


def queued(gateway: Busy) -> int:
    return gateway.metric("slipway_queued_requests")


def test_a_request_beyond_the_full_queue_is_refused_with_a_retry_after(
    gateway: Busy, client: OpenAI, busy: list[Stream[Completion]]
) -> None:
    refused = gateway.metric("slipway_refused_requests_total")
    waiting = client.completions.create(model=gateway.model, stream=True, n=QUEUE, **ENDLESS)
    assert queued(gateway) == QUEUE
    for stream in (True, False):
        with pytest.raises(openai.RateLimitError, match=f"{QUEUE} answers wait") as caught:
            client.completions.create(model=gateway.model, stream=stream, **ENDLESS)
        assert (caught.value.type, caught.value.code) == ("requests", "queue_full")
        assert int(caught.value.response.headers["retry-after"]) >= 1
    with gateway.anthropic() as other, pytest.raises(anthropic.InternalServerError) as overloaded:
        other.messages.create(model=gateway.model, max_tokens=9, messages=HI)
    assert overloaded.value.status_code == 529
    assert overloaded.value.body["error"]["type"] == "overloaded_error"
    assert int(overloaded.value.response.headers["retry-after"]) >= 1
    assert gateway.metric("slipway_refused_requests_total") == refused + 3
    waiting.close()
    wait_until(lambda: queued(gateway) == 0)
    assert gateway.metric("slipway_waiting_requests") <= PLACES - SLOTS, "the others never reached the engine"


async def test_a_greedy_client_fills_the_queue_and_a_modest_one_waits_its_share(gateway: Busy) -> None:
    full = await fill_queue(Target(gateway.url, gateway.model), ANSWERS, max_tokens=8, places=PLACES)
    assert full.statuses.keys() == {200, 429}
    assert full.statuses[200] == ANSWERS
    # Measured on a quiet machine, they are within a factor of two.
    assert 1 / 10 < full.ratios[0] <= full.ratios[-1] < 10
    assert max(full.modest_s) < 5 * 2 * full.share_s


def test_answers_that_no_client_reads_give_back_their_places(gateway: Busy, client: OpenAI) -> None:
    target = Target(gateway.url, gateway.model)
    process = target.process()
    handles = process.num_fds()
    before = gateway.metric("slipway_generated_tokens_total")
    with unread(target, PLACES, UNREAD):
        wait_until(lambda: gateway.metric("slipway_generated_tokens_total") >= before + PLACES * UNREAD)
        wait_until(lambda: gateway.running_requests() == 0)
        with client.with_options(timeout=10) as patient:
            patient.completions.create(model=gateway.model, prompt="Hi", max_tokens=1)
    wait_until(lambda: process.num_fds() <= handles)


def test_a_lower_priority_value_goes_first(
    gateway: Busy, client: OpenAI, busy: list[Stream[Completion]]
) -> None:
    def chat(priority: int) -> float:
        body = {"ignore_eos": True, "priority": priority}
        client.chat.completions.create(model=gateway.model, messages=HI, max_tokens=30, extra_body=body)
        return time.monotonic()

    def message(priority: int) -> float:
        with gateway.anthropic() as other:
            body = {"priority": priority}
            other.messages.create(model=gateway.model, messages=HI, max_tokens=30, extra_body=body)
        return time.monotonic()

    with ThreadPoolExecutor() as pool:
        late = pool.submit(chat, 5)
        wait_until(lambda: queued(gateway) == 1)
        early = pool.submit(message, -5)
        wait_until(lambda: queued(gateway) == 2)
        for stream in busy[: PLACES - 1]:  # the one beside the slots takes the first
            stream.close()
        assert early.result() < late.result()


@pytest.mark.parametrize("stream", [True, False])
def test_a_passed_deadline_ends_the_answer_and_frees_its_slot(
    gateway: Busy, client: OpenAI, stream: bool
) -> None:
    before = len(gateway.completions())
    body = {"ignore_eos": True, "timeout": 0.5, "max_tokens": 8000}
    retrying = client.with_options(max_retries=2)

    def ask() -> None:
        asking = {"model": gateway.model, "prompt": "1, 2,", "extra_body": body}
        for _ in retrying.completions.create(stream=stream, **asking):
            assert stream, "an answer that is not streamed is an error as a whole"

    with pytest.raises(openai.APIError, match=r"stopped 0.5 s after its arrival") as caught:
        ask()
    assert caught.value.code == "deadline_exceeded"
    wait_until(lambda: gateway.running_requests() == 0)
    wait_until(lambda: len(gateway.completions()) > before)
    assert len(gateway.completions()) == before + 1, "not sent again"
    if not stream:
        assert caught.value.status_code == 504


def test_a_deadline_that_passes_in_the_queue_removes_the_request(
    gateway: Busy, client: OpenAI, busy: list[Stream[Completion]]
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.completions.create(model=gateway.model, prompt="Hi", extra_body={"timeout": 0.3})
    assert caught.value.code == "deadline_exceeded"
    asking = {"model": gateway.model, "max_tokens": 9, "messages": HI, "extra_body": {"timeout": 0.3}}
    with gateway.anthropic() as other, pytest.raises(anthropic.APIStatusError) as overloaded:
        other.messages.create(**asking)
    assert overloaded.value.status_code == 504
    assert overloaded.value.body["error"]["type"] == "timeout_error"
    assert queued(gateway) == 0


def test_an_answer_of_no_given_length_ends_at_the_models_default(client: OpenAI, gateway: Busy) -> None:
    [model] = client.models.list().data
    assert model.model_extra["default_max_tokens"] == DEFAULT_MAX_TOKENS
    endless = {"model": gateway.model, "extra_body": {"ignore_eos": True}}
    chat = client.chat.completions.create(messages=HI, **endless)
    assert chat.choices[0].finish_reason == "length"
    assert chat.usage.completion_tokens == DEFAULT_MAX_TOKENS
    assert client.completions.create(prompt="1, 2,", **endless).usage.completion_tokens == DEFAULT_MAX_TOKENS
    response = client.responses.create(input="Count to a hundred.", model=gateway.model, temperature=0)
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.output_tokens == DEFAULT_MAX_TOKENS
    longer = client.completions.create(prompt="1, 2,", max_tokens=DEFAULT_MAX_TOKENS + 9, **endless)
    assert longer.usage.completion_tokens == DEFAULT_MAX_TOKENS + 9


def test_a_value_over_its_bound_is_refused_with_value_and_bound(gateway: Busy, client: OpenAI) -> None:
    too_much = PLACES + QUEUE + 1
    cases = [
        ({"extra_body": {"timeout": 31}}, "timeout", "31 s", "30 s"),
        ({"extra_body": {"timeout": 0}}, "timeout", "0", "0"),
        ({"extra_body": {"priority": 1.5}}, "priority", "1.5", "integer"),
        ({"n": too_much, "max_tokens": 9}, "n", f"{too_much} answers", f"{too_much - 1} at once"),
        ({"n": 5, "max_tokens": 8100}, "n", "5 answers", "40000"),
        ({"stop": ["x" * 600, "y" * 600]}, "stop", "1200", "1024"),
        ({"messages": HI * 2049}, "messages", "2049", "2048"),
        ({"logit_bias": dict.fromkeys(map(str, range(2049)), 1)}, "logit_bias", "2049", "2048"),
        (
            {"extra_body": {"structured_outputs": {"regex": "a" * 120_001}}},
            "structured_outputs",
            "120001",
            "120000",
        ),
    ]
    for fields, param, value, bound in cases:
        asked = {"model": gateway.model, "messages": HI} | fields
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**asked)
        assert caught.value.param == param
        assert all(word in caught.value.message for word in (param, value, bound)), caught.value.message
    with gateway.anthropic() as other, pytest.raises(anthropic.BadRequestError, match="2049 entries"):
        other.messages.create(model=gateway.model, max_tokens=9, messages=HI * 2049)


def test_a_request_has_the_same_id_in_its_response_and_in_the_log(gateway: Busy, client: OpenAI) -> None:
    named = client.completions.with_raw_response.create(
        model=gateway.model, prompt="Hi", max_tokens=3, n=2, extra_headers={"x-request-id": "mine-1"}
    )
    assert named.headers["x-request-id"] == "mine-1"
    usage = named.parse().usage
    wait_until(lambda: any(line["request_id"] == "mine-1" for line in gateway.lines()))
    [line] = [line for line in gateway.lines() if line["request_id"] == "mine-1"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/completions", 200)
    assert line["model"] == gateway.model
    assert line["prompt_tokens"] == usage.prompt_tokens
    assert line["completion_tokens"] == usage.completion_tokens
    assert 0 < line["ms"] < 60_000
    for unsafe in ("x" * 129, 'a"b', "a b"):
        answered = httpx.get(f"{gateway.url}/v1/models", headers={"x-request-id": unsafe})
        assert answered.headers["x-request-id"] not in ("", unsafe)


def test_two_requests_with_the_same_id_are_two_requests(gateway: Busy, client: OpenAI) -> None:
    same = {"model": gateway.model, "extra_headers": {"x-request-id": "twin"}, "stream": True} | ENDLESS
    first = client.completions.create(**same)
    next(first)
    second = client.completions.create(**same)
    next(second)
    second.close()
    assert len([next(first) for _ in range(20)]) == 20
    first.close()
