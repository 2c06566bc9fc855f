"""The official openai client gets from every backend what the reference of the Responses API promises."""

import time

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response
from pydantic import BaseModel, Field
from support.gateways import Gateway
from support.waiting import wait_until

PARIS = "What is the capital of France?"


class Person(BaseModel):
    age: int = Field(ge=0, le=120)


def test_a_streamed_response_equals_the_whole_one(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "input": PARIS, "temperature": 0, "metadata": {"a": "b"}}
    whole = client.responses.create(**asked)
    Response.model_validate(whole.to_dict())
    assert "Paris" in whole.output_text
    assert (whole.status, whole.model, whole.metadata) == ("completed", gateway.model, {"a": "b"})
    assert whole.id.startswith("resp_")
    assert abs(whole.created_at - time.time()) < 60
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    counted = client.responses.input_tokens.count(model=gateway.model, input=PARIS)
    assert (counted.input_tokens, counted.object) == (whole.usage.input_tokens, "response.input_tokens")
    with client.responses.stream(**asked) as stream:
        events = list(stream)
        ended = stream.get_final_response()
    assert [event.type for event in events[:4]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert all(deltas)
    assert "".join(deltas) == ended.output_text == whole.output_text
    assert ended.usage.output_tokens == whole.usage.output_tokens
    assert client.responses.retrieve(whole.id) == whole
    with pytest.raises(openai.BadRequestError, match="comes whole"):
        client.responses.retrieve(whole.id, stream=True)


def test_a_response_continues_an_earlier_one_by_its_id(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "temperature": 0, "max_output_tokens": 12}
    first = client.responses.create(**asked, input=PARIS, instructions="Be brief.")
    on = client.responses.create(**asked, input="Why?", previous_response_id=first.id)
    told = client.responses.create(
        **asked,
        input=[{"role": "user", "content": PARIS}, *first.output, {"role": "user", "content": "Why?"}],
    )
    assert on.previous_response_id == first.id
    assert on.usage.input_tokens == told.usage.input_tokens > first.usage.input_tokens
    assert on.output_text == told.output_text
    third = client.responses.create(**asked, input="And?", previous_response_id=on.id)
    assert third.usage.input_tokens > on.usage.input_tokens + on.usage.output_tokens


def test_a_pydantic_model_is_parsed_from_a_response(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "input": "Describe a person in JSON.", "text_format": Person}
    assert isinstance(client.responses.parse(**asked).output_parsed, Person)
    with client.responses.stream(**asked) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Person)


def test_a_truncated_response_is_incomplete(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "input": PARIS, "max_output_tokens": 3, "temperature": 0}
    response = client.responses.create(**asked)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.usage.output_tokens == 3
    *_, last = client.responses.create(**asked, stream=True)
    assert (last.type, last.response.status) == ("response.incomplete", "incomplete")


def test_a_response_that_is_deleted_or_not_stored_is_not_found(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "input": PARIS, "max_output_tokens": 2}
    deleted = client.responses.create(**asked)
    client.responses.delete(deleted.id)
    for gone in (deleted, client.responses.create(**asked, store=False)):
        with pytest.raises(openai.NotFoundError, match="the 1000 used last in memory"):
            client.responses.retrieve(gone.id)
        with pytest.raises(openai.NotFoundError, match="send the whole conversation") as caught:
            client.responses.create(**asked, previous_response_id=gone.id)
        assert caught.value.param == "previous_response_id"


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_names_the_fields_of_the_responses_api(
    client: OpenAI, gateway: Gateway, stream: bool
) -> None:
    schema = {"type": "json_schema", "name": "x", "schema": {"type": "strin"}}
    for fields, param in (
        ({"max_output_tokens": 1_000_000}, "max_output_tokens"),
        ({"text": {"format": schema}}, "text.format"),
        ({"input": "one " * 10_000}, "input"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(**{"model": gateway.model, "input": PARIS} | fields, stream=stream)
        assert caught.value.param == param


def test_a_client_that_leaves_before_the_response_frees_its_slot(gateway: Gateway) -> None:
    # The sample model does not end a greedy answer; a sampled one may end before the client leaves.
    story = "Tell a very long story about a king and his seven sons."
    body = {"model": gateway.model, "input": story, "temperature": 0}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{gateway.url}/v1/responses", json=body, timeout=0.5)
    wait_until(lambda: gateway.running_requests() == 0)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/embeddings", "makes no embeddings"),
        ("/v1/audio/speech", "no speech"),
        ("/v1/batches", "one request at a time"),
        ("/v1/fine_tuning/jobs", "tune elsewhere"),
        ("/v1/assistants", "previous_response_id"),
    ],
)
def test_a_well_known_endpoint_that_is_not_offered_says_what_to_do(
    gateway: Gateway, path: str, said: str
) -> None:
    response = gateway.post(path, json={})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "endpoint_not_offered"
    assert said in response.json()["error"]["message"]
