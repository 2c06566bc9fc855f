"""Tools through the official clients: required, named and left to the model; streamed; a whole loop."""

import json
from typing import Any, Literal

import pytest
from anthropic import Anthropic, beta_tool
from gateways import Gateway
from openai import BadRequestError, OpenAI
from pydantic import BaseModel

CITIES = ["Seoul", "Paris", "Oslo"]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": CITIES}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
TIME: dict[str, Any] = {"type": "function", "function": {"name": "time"}}
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


def test_a_loop_of_call_result_and_answer(client: OpenAI, gateway: Gateway) -> None:
    messages = list(ASKED["messages"])
    asked = {**ASKED, "messages": messages}
    called = client.chat.completions.create(model=gateway.model, **asked, **ONE).choices[0].message
    messages.append(called.model_dump(exclude_none=True))
    for call in called.tool_calls or []:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees"})
    final = client.chat.completions.create(model=gateway.model, **{**asked, "tool_choice": "none"})
    assert final.choices[0].message.content
    assert final.choices[0].message.tool_calls is None


def test_required_calls_may_be_several_and_each_is_valid(client: OpenAI, gateway: Gateway) -> None:
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


def test_where_the_model_decides_it_is_told_of_the_tools(client: OpenAI, gateway: Gateway) -> None:
    short = {**ASKED, "max_tokens": 1}
    plain = {name: value for name, value in short.items() if name != "tools"}
    told = client.chat.completions.create(model=gateway.model, **short).usage
    untold = client.chat.completions.create(model=gateway.model, **plain).usage
    assert told
    assert untold
    assert told.prompt_tokens > untold.prompt_tokens + 50
    off = client.chat.completions.create(model=gateway.model, **short, tool_choice="none").usage
    assert off
    assert off.prompt_tokens == untold.prompt_tokens


def test_a_schema_of_arguments_that_cannot_be_used_is_a_400(client: OpenAI, gateway: Gateway) -> None:
    bad = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": 3}}}
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(
            model=gateway.model, **{**ASKED, "tools": [bad]}, tool_choice="required", stream=True
        )
    assert caught.value.param == "tools"


def test_the_responses_api_calls_and_takes_the_result(client: OpenAI, gateway: Gateway) -> None:
    function = {"type": "function", "strict": True, **WEATHER["function"]}
    asked: dict[str, Any] = {"model": gateway.model, "tools": [function], "temperature": 0}
    first = client.responses.create(
        input="Weather in Seoul?",
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        max_output_tokens=60,
        **asked,
    )
    (call,) = first.output
    assert call.type == "function_call"
    assert Arguments.model_validate_json(call.arguments).city in CITIES
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}
    second = client.responses.create(
        input=[result], previous_response_id=first.id, tool_choice="none", max_output_tokens=12, **asked
    )
    assert second.output_text


def test_the_messages_api_calls_streamed_and_takes_the_result(gateway: Gateway) -> None:
    function = WEATHER["function"]
    tool: Any = {
        "name": "weather",
        "description": function["description"],
        "input_schema": function["parameters"],
    }
    asked: dict[str, Any] = {"model": gateway.model, "max_tokens": 60, "tools": [tool]}
    messages: list[Any] = [{"role": "user", "content": "Weather in Seoul?"}]
    choice: Any = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    with Anthropic(base_url=gateway.url, api_key="none", max_retries=0) as client:
        with client.messages.stream(messages=messages, tool_choice=choice, **asked) as stream:
            message = stream.get_final_message()
        assert message.stop_reason == "tool_use"
        (block,) = message.content
        assert block.type == "tool_use"
        assert Arguments.model_validate(block.input).city in CITIES
        messages += [
            {"role": "assistant", "content": [block.model_dump(include={"type", "id", "name", "input"})]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": block.id, "content": "Sunny"}],
            },
        ]
        final = client.messages.create(messages=messages, tool_choice={"type": "none"}, **asked)
    assert [each.type for each in final.content] == ["text"]


def test_anthropics_tool_runner_goes_on_without_a_thread_of_the_servers(gateway: Gateway) -> None:
    """It asks for one first; the conversation then comes whole with every request."""

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
            )
        )
    assert [turn.stop_reason for turn in turns] == ["tool_use", "tool_use"]
