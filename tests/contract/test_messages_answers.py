"""The official anthropic client gets answers as Anthropic's reference describes, from every backend."""

from collections.abc import Iterator
from typing import Literal

import anthropic
import httpx
import pytest
from anthropic import Anthropic
from pydantic import BaseModel
from support.gateways import Gateway
from support.waiting import wait_until

PARIS = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0}


class Person(BaseModel):
    age: Literal[20, 30]


@pytest.fixture
def claude(gateway: Gateway) -> Iterator[Anthropic]:
    with gateway.anthropic() as client:
        yield client


def test_a_streamed_message_equals_the_whole_one(claude: Anthropic, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "max_tokens": 40, "messages": PARIS, "extra_body": GREEDY}
    whole = claude.messages.create(**asked)
    assert "Paris" in whole.content[0].text
    assert (whole.type, whole.role, whole.model) == ("message", "assistant", gateway.model)
    assert (whole.stop_reason, whole.stop_sequence) == ("end_turn", None)
    assert whole.id.startswith("msg_")
    assert whole._request_id
    with claude.messages.stream(**asked) as stream:
        kinds = [event.type for event in stream if event.type != "text"]
        folded = stream.get_final_message()
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert folded.content[0].text == whole.content[0].text
    assert folded.stop_reason == "end_turn"
    # The cached share of the prompt depends on the requests before.
    prompts = [
        each.usage.input_tokens + (each.usage.cache_read_input_tokens or 0) for each in (whole, folded)
    ]
    counted = claude.messages.count_tokens(model=gateway.model, messages=PARIS).input_tokens
    assert prompts == [counted, counted]
    assert folded.usage.output_tokens == whole.usage.output_tokens > 3


def test_a_message_has_its_stop_reason(claude: Anthropic, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "messages": PARIS, "extra_body": GREEDY}
    cut = claude.messages.create(**asked, max_tokens=3)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)
    stopped = claude.messages.create(**asked, max_tokens=40, stop_sequences=["nowhere", " France"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " France")
    assert stopped.content[0].text.endswith("capital of")


def test_an_answer_continues_a_prefilled_message(claude: Anthropic, gateway: Gateway) -> None:
    prefill = {"role": "assistant", "content": "The capital of France is"}
    message = claude.messages.create(
        model=gateway.model, max_tokens=3, messages=[*PARIS, prefill], extra_body=GREEDY
    )
    assert message.content[0].text.startswith(" Paris")


def test_system_prompt_and_earlier_answers_reach_the_model(claude: Anthropic, gateway: Gateway) -> None:
    def prompt(**fields: object) -> int:
        return claude.messages.count_tokens(model=gateway.model, **fields).input_tokens

    alone = prompt(messages=PARIS)
    answer = claude.messages.create(model=gateway.model, max_tokens=5, messages=PARIS, extra_body=GREEDY)
    why = [{"type": "text", "text": "Why?", "cache_control": {"type": "ephemeral"}}]
    turns = [{"role": "assistant", "content": answer.content}, {"role": "user", "content": why}]
    assert prompt(messages=[*PARIS, *turns]) > alone + answer.usage.output_tokens
    assert prompt(messages=PARIS, system="Answer in one word. " * 9) > alone + 20
    late = {"role": "system", "content": "Answer in one word. " * 9}
    assert prompt(messages=[*PARIS, late]) > alone + 20


def test_a_pydantic_model_is_parsed_from_a_message(claude: Anthropic, gateway: Gateway) -> None:
    message = claude.messages.parse(
        model=gateway.model, max_tokens=40, messages=PARIS, output_format=Person, extra_body=GREEDY
    )
    assert isinstance(message.parsed_output, Person)


def test_a_client_that_leaves_a_stream_of_messages_frees_its_slot(
    claude: Anthropic, gateway: Gateway
) -> None:
    story = [{"role": "user", "content": "Tell a very long story about a king and his seven sons."}]
    asked = {"model": gateway.model, "max_tokens": 8000, "messages": story}
    # The sample model does not end a greedy answer.
    with claude.messages.stream(**asked, extra_body=GREEDY) as stream:
        next(event for event in stream if event.type == "text")
    wait_until(lambda: gateway.running_requests() == 0)


@pytest.mark.parametrize(
    ("fields", "error", "kind", "said"),
    [
        ({"model": "claude-9"}, anthropic.NotFoundError, "not_found_error", "is not served here"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error", "max_tokens"),
        ({"extra_body": {"n": 2}}, anthropic.BadRequestError, "invalid_request_error", "n is not a field"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "strin"}}}},
            anthropic.BadRequestError,
            "invalid_request_error",
            "Invalid type: strin",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_has_anthropics_shape(
    claude: Anthropic,
    gateway: Gateway,
    fields: dict[str, object],
    error: type[anthropic.APIStatusError],
    kind: str,
    said: str,
    stream: bool,
) -> None:
    asked = {"model": gateway.model, "max_tokens": 9, "messages": PARIS, "stream": stream}
    with pytest.raises(error, match=said) as caught:
        claude.messages.create(**asked | fields)
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == kind
    assert caught.value.request_id


def test_an_error_before_the_body_is_read_has_anthropics_shape_too(gateway: Gateway) -> None:
    large = b'{"model": "' + b"x" * 5_000_000
    headers = {"content-type": "application/json"}
    for response, status, kind in (
        (httpx.get(f"{gateway.url}/v1/messages"), 405, "invalid_request_error"),
        (gateway.post("/v1/messages/nothing"), 404, "not_found_error"),
        (gateway.post("/v1/messages", content=b"{}"), 415, "invalid_request_error"),
        (gateway.post("/v1/messages", content=large, headers=headers), 413, "request_too_large"),
    ):
        assert response.status_code == status
        assert response.headers["request-id"] == response.headers["x-request-id"]
        body = response.json()
        assert (body["type"], body["error"]["type"]) == ("error", kind)
        assert body["error"]["message"]
