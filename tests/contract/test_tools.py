"""Tools with the official clients: required, named and optional calls, and the whole loop of each API."""

import json
from typing import Any, Literal

import pytest
from anthropic import Anthropic, beta_tool
from anthropic.types import Message
from openai import BadRequestError, OpenAI
from openai.types.chat import ParsedChatCompletionMessage
from openai.types.responses import Response
from pydantic import BaseModel
from support.gateways import Gateway

CITIES = ["Seoul", "Paris", "Oslo"]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": CITIES}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
TIME: dict[str, Any] = {"type": "function", "function": {"name": "time", "strict": True}}
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "What is the weather in Seoul?"}],
    "tools": [WEATHER, TIME],
    "temperature": 0,
    "max_tokens": 60,
}
ONE = {"tool_choice": {"type": "function", "function": {"name": "weather"}}, "parallel_tool_calls": False}


class Arguments(BaseModel):
    city: str
    days: int


def test_a_named_tool_is_called_streamed_or_not(client: OpenAI, gateway: Gateway) -> None:
    answer = client.chat.completions.create(model=gateway.model, **ASKED, **ONE)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "weather"
    assert Arguments.model_validate_json(call.function.arguments).city in CITIES

    with client.chat.completions.stream(model=gateway.model, **ASKED, **ONE) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.delta" in kinds
    (streamed,) = final.choices[0].message.tool_calls or []
    assert streamed.function.arguments == call.function.arguments
    assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_loop_of_call_result_and_answer(client: OpenAI, gateway: Gateway, streamed: bool) -> None:
    def answer(messages: list[Any], **choice: Any) -> ParsedChatCompletionMessage[None]:
        asked = {"model": gateway.model, **ASKED, "messages": messages, **choice}
        if not streamed:
            return client.chat.completions.parse(**asked).choices[0].message
        with client.chat.completions.stream(**asked) as stream:
            return stream.get_final_completion().choices[0].message

    called = answer(ASKED["messages"], **ONE)
    (call,) = called.tool_calls or []
    assert Arguments.model_validate_json(call.function.arguments).city in CITIES
    result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees"}
    final = answer([*ASKED["messages"], called, result], tool_choice="none", stop=[" "])
    assert final.content
    assert not final.tool_calls


def test_several_required_calls_are_each_valid(client: OpenAI, gateway: Gateway) -> None:
    asked = {**ASKED, "temperature": 1, "seed": 4, "max_tokens": 120, "n": 3}
    answer = client.chat.completions.create(model=gateway.model, **asked, tool_choice="required")
    for choice in answer.choices:
        assert choice.finish_reason in ("tool_calls", "length")
        assert choice.message.content is None or choice.message.content == ""
        *whole, last = choice.message.tool_calls or []
        for call in [*whole, last] if choice.finish_reason == "tool_calls" else whole:
            if call.function.name == "weather":
                Arguments.model_validate_json(call.function.arguments)
            else:
                assert (call.function.name, json.loads(call.function.arguments)) == ("time", {})


def test_the_prompt_has_the_tools_unless_tool_choice_is_none(client: OpenAI, gateway: Gateway) -> None:
    short = {**ASKED, "max_tokens": 1}
    plain = {name: value for name, value in short.items() if name != "tools"}
    with_tools = client.chat.completions.create(model=gateway.model, **short).usage
    without_tools = client.chat.completions.create(model=gateway.model, **plain).usage
    assert with_tools
    assert without_tools
    assert with_tools.prompt_tokens > without_tools.prompt_tokens + 50
    off = client.chat.completions.create(model=gateway.model, **short, tool_choice="none").usage
    assert off
    assert off.prompt_tokens == without_tools.prompt_tokens


def test_an_invalid_argument_schema_is_a_bad_request(client: OpenAI, gateway: Gateway) -> None:
    bad = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": 3}}}
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(
            model=gateway.model, **{**ASKED, "tools": [bad]}, tool_choice="required", stream=True
        )
    assert caught.value.param == "tools"


@pytest.mark.parametrize("streamed", [False, True])
def test_the_responses_api_calls_a_tool_and_takes_its_result(
    client: OpenAI, gateway: Gateway, streamed: bool
) -> None:
    function = {"type": "function", **WEATHER["function"]}

    def answer(**fields: Any) -> Response:
        asked = {"model": gateway.model, "tools": [function], "temperature": 0, **fields}
        if not streamed:
            return client.responses.create(**asked)
        with client.responses.stream(**asked) as stream:
            *_, last = stream
        return last.response

    choice = {"type": "function", "name": "weather"}
    first = answer(input="Weather in Seoul?", tool_choice=choice, parallel_tool_calls=False)
    (call,) = first.output
    assert call.type == "function_call"
    assert Arguments.model_validate_json(call.arguments).city in CITIES
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}
    on = {"previous_response_id": first.id, "tool_choice": "none", "max_output_tokens": 12}
    assert answer(input=[result], **on).output_text


@pytest.mark.parametrize("streamed", [False, True])
def test_the_messages_api_calls_a_tool_and_takes_its_result(gateway: Gateway, streamed: bool) -> None:
    function = WEATHER["function"]
    tool = {
        "name": "weather",
        "description": function["description"],
        "input_schema": function["parameters"],
    }

    def answer(client: Anthropic, **fields: Any) -> Message:
        asked = {"model": gateway.model, "tools": [tool], "extra_body": {"temperature": 0}, **fields}
        if not streamed:
            return client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            return stream.get_final_message()

    messages: list[Any] = [{"role": "user", "content": "Weather in Seoul?"}]
    choice = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    with gateway.anthropic() as client:
        called = answer(client, messages=messages, tool_choice=choice, max_tokens=60)
        assert called.stop_reason == "tool_use"
        (block,) = called.content
        assert block.type == "tool_use"
        assert Arguments.model_validate(block.input).city in CITIES
        result = {"type": "tool_result", "tool_use_id": block.id, "content": "Sunny"}
        messages += [{"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
        final = answer(client, messages=messages, tool_choice={"type": "none"}, max_tokens=12)
        counted = client.messages.count_tokens(model=gateway.model, tools=[tool], messages=messages)
    assert [each.type for each in final.content] == ["text"]
    # The prompt has the tools only where a call is allowed.
    assert counted.input_tokens > called.usage.input_tokens


def test_anthropics_tool_runner_works_without_a_thread_on_the_server(gateway: Gateway) -> None:
    """It asks for a thread first; then it sends the whole conversation with each request."""

    @beta_tool
    def weather(city: Literal["Seoul", "Paris", "Oslo"]) -> str:
        """The weather of a city."""
        return f"Sunny in {city}"

    choice: Any = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    with gateway.anthropic() as client:
        turns = list(
            client.beta.messages.tool_runner(
                model=gateway.model,
                max_tokens=60,
                messages=[{"role": "user", "content": "Weather in Seoul?"}],
                tools=[weather],
                tool_choice=choice,
                max_iterations=2,
                extra_body={"temperature": 0},
            )
        )
    assert [turn.stop_reason for turn in turns] == ["tool_use", "tool_use"]
