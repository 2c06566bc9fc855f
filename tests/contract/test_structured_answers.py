"""The official openai client gets answers in the shape it asks for, from every backend."""

import json
import re
from typing import Literal

import jsonschema
import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field
from support.gateways import Gateway

ASK = [{"role": "user", "content": "Describe a person in JSON."}]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}


class Place(BaseModel):
    city: str = Field(max_length=12)
    size: Literal["small", "large"]


class Person(BaseModel):
    age: int = Field(ge=0, le=120)
    home: Place


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_valid_under_the_schema(client: OpenAI, gateway: Gateway, stream: bool) -> None:
    asked = {"model": gateway.model, "messages": ASK, "response_format": FORMAT, "max_tokens": 100, "seed": 1}
    if stream:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        document = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        choice = client.chat.completions.create(**asked).choices[0]
        document, reason = choice.message.content, choice.finish_reason
    jsonschema.validate(json.loads(document), SCHEMA)
    assert reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_a_pydantic_model_is_parsed(client: OpenAI, gateway: Gateway, stream: bool) -> None:
    asked = {"model": gateway.model, "messages": ASK, "response_format": Person}
    asked |= {"temperature": 0, "max_tokens": 100}
    if stream:
        with client.chat.completions.stream(**asked) as events:
            completion = events.get_final_completion()
    else:
        completion = client.chat.completions.parse(**asked)
    assert isinstance(completion.choices[0].message.parsed, Person)


def test_a_json_object_starts_with_a_brace_and_a_truncated_one_says_so(
    client: OpenAI, gateway: Gateway
) -> None:
    completion = client.chat.completions.create(
        model=gateway.model,
        messages=ASK,
        response_format={"type": "json_object"},
        max_tokens=3,
        temperature=0,
    )
    assert completion.choices[0].message.content.startswith("{")
    assert completion.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("structure", "expression"),
    [
        ({"regex": "[A-Z][a-z]{2,8}"}, "[A-Z][a-z]{2,8}"),
        ({"choice": ["no 'way'", 'start: "a|b"\n\\#네']}, "no 'way'|start: \"a\\|b\"\n\\\\#네"),
        ({"grammar": 'root ::= "in " [0-9]{4}'}, "in [0-9]{4}"),
        ({"json": {"type": "integer", "minimum": 0, "maximum": 99}}, "[0-9]{1,2}"),
    ],
)
def test_vllms_structured_outputs_apply_to_completions(
    client: OpenAI, gateway: Gateway, structure: dict[str, object], expression: str
) -> None:
    completion = client.completions.create(
        model=gateway.model, prompt="The", max_tokens=30, extra_body={"structured_outputs": structure}
    )
    assert re.fullmatch(expression, completion.choices[0].text)


def test_a_grammar_completed_by_the_last_allowed_token_ends_with_stop(
    client: OpenAI, gateway: Gateway
) -> None:
    asked = {"model": gateway.model, "prompt": "The year", "temperature": 0}
    asked["extra_body"] = {"structured_outputs": {"regex": "20[0-9]{2}"}}
    length = client.completions.create(**asked).usage.completion_tokens
    for most, reason in ((length, "stop"), (length - 1, "length")):
        assert client.completions.create(**asked, max_tokens=most).choices[0].finish_reason == reason


@pytest.mark.parametrize("stream", [False, True])
def test_an_invalid_schema_is_a_bad_request_with_the_reason(
    client: OpenAI, gateway: Gateway, stream: bool
) -> None:
    schema = {"name": "x", "schema": {"type": "strin"}}
    with pytest.raises(openai.BadRequestError, match="Invalid type: strin") as caught:
        client.chat.completions.create(
            model=gateway.model,
            messages=ASK,
            stream=stream,
            response_format={"type": "json_schema", "json_schema": schema},
        )
    assert caught.value.param == "response_format"
    with pytest.raises(openai.BadRequestError, match="unclosed group") as caught:
        client.completions.create(
            model=gateway.model, prompt="a", stream=stream, extra_body={"structured_outputs": {"regex": "(a"}}
        )
    assert caught.value.param == "structured_outputs"
