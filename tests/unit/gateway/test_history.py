"""Whatever a reply contains can be sent back with the results of its calls, under every chat template."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from support.answer_parts import ARGUMENTS, whole
from support.prompters import FAMILIES, prompter, prompter_of, requests

from slipway.gateway.answers.answer import Piece
from slipway.gateway.chat.reply import ChatReply
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.messages.reply import MessagesReply
from slipway.gateway.messages.schema import MessagesRequest
from slipway.gateway.query import Conversation, Message, Query
from slipway.gateway.responses.object import ResponseObject
from slipway.gateway.responses.reply import ResponsesReply
from slipway.gateway.responses.schema import ResponsesRequest
from slipway.gateway.shapes.parsing import parse
from slipway.gateway.shapes.reply import Head
from slipway.gateway.validation import check_query
from slipway.text.parts import AnswerReasoning, AnswerText, CallArguments, CallStart, Part

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
NAMES = ["weather", "clock"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("history")


@st.composite
def replies(draw: st.DrawFn) -> list[Piece]:
    """An answer of thoughts, texts and calls in any order, cut anywhere or not."""
    parts: list[Part] = []
    for kind in draw(st.lists(st.sampled_from(["thought", "text", "call", "broken call"]), max_size=4)):
        calls = sum(isinstance(part, CallStart) for part in parts)
        if kind == "thought":
            parts.append(AnswerReasoning("Hm."))
        elif kind == "text":
            parts.append(AnswerText("Let me see."))
        else:
            arguments = json.dumps(draw(ARGUMENTS))
            end = draw(st.integers(0, len(arguments))) if kind == "broken call" else len(arguments)
            parts.append(CallStart(calls, draw(st.sampled_from(NAMES))))
            parts += [CallArguments(calls, arguments[:end])] if end else []
    finish = "tool_calls" if any(isinstance(part, CallStart) for part in parts) else "length"
    return [Piece(tuple(parts), 5), Piece((), 0, draw(st.sampled_from(["stop", "length", finish])))]


@dataclass(frozen=True)
class Turns:
    """A reply, and what the client says next: results of its calls in some order, then a text or none."""

    pieces: list[Piece]
    reversed_results: bool
    with_text: bool


TURNS = st.builds(Turns, replies(), st.booleans(), st.booleans())


def chat(rounds: Sequence[Turns], tools: bool) -> Query:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "question"}]
    for number, turns in enumerate(rounds):
        message = json.loads(whole(ChatReply(Head("x", "m", 1)), turns.pieces))["choices"][0]["message"]
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": f"result {number}.{index}"}
            for index, call in enumerate(message.get("tool_calls", ()))
        ]
        messages += [message, *_ordered(results, turns)]
        if turns.with_text or not results:
            messages.append({"role": "user", "content": f"text {number}"})
    functions = [{"type": "function", "function": {"name": n, "parameters": PARAMETERS}} for n in NAMES]
    offered = {"tools": functions} if tools else {}
    return _query(ChatCompletionRequest, messages=messages, **offered)


def responses(rounds: Sequence[Turns], tools: bool, kept: bool = False) -> Query:
    """kept: the conversation is continued with previous_response_id."""
    items: list[dict[str, Any]] = [{"role": "user", "content": "question"}]
    earlier: list[Message] = []
    functions = [{"type": "function", "name": name, "parameters": PARAMETERS} for name in NAMES]
    asked: dict[str, Any] = {"model": "m", **({"tools": functions} if tools else {})}
    for number, turns in enumerate(rounds):
        body = parse(json.dumps({**asked, "input": items}).encode(), ResponsesRequest)
        answered: list[Message] = []
        started = ResponseObject.started(Head("resp_x", "m", 1), body)
        made = ResponsesReply(started, lambda ended, messages, store=answered: store.extend(messages))
        output = json.loads(whole(made, turns.pieces))["output"]
        if kept:
            earlier += [*body.said(), *answered]
            items = []
        else:
            items += output
        results = [
            {
                "type": "function_call_output",
                "call_id": item["call_id"],
                "output": f"result {number}.{index}",
            }
            for index, item in enumerate(each for each in output if each["type"] == "function_call")
        ]
        items += _ordered(results, turns)
        if turns.with_text or not results:
            items.append({"role": "user", "content": f"text {number}"})
    body = parse(json.dumps({**asked, "input": items}).encode(), ResponsesRequest)
    return body.query(earlier, body.said())


def kept_responses(rounds: Sequence[Turns], tools: bool) -> Query:
    return responses(rounds, tools, kept=True)


def messages(rounds: Sequence[Turns], tools: bool) -> Query:
    said: list[dict[str, Any]] = [{"role": "user", "content": "question"}]
    for number, turns in enumerate(rounds):
        content = json.loads(whole(MessagesReply(Head("msg_x", "m"), 9), turns.pieces))["content"]
        results: list[dict[str, Any]] = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": f"result {number}.{index}"}
            for index, block in enumerate(each for each in content if each["type"] == "tool_use")
        ]
        text = [{"type": "text", "text": f"text {number}"}] if turns.with_text or not results else []
        said += [
            {"role": "assistant", "content": content},
            {"role": "user", "content": [*_ordered(results, turns), *text]},
        ]
    offered = {"tools": [{"name": name, "input_schema": PARAMETERS} for name in NAMES]} if tools else {}
    return _query(MessagesRequest, messages=said, max_tokens=9, **offered)


def _ordered(results: list[dict[str, Any]], turns: Turns) -> list[dict[str, Any]]:
    return results[::-1] if turns.reversed_results else results


def _query(schema: Any, **fields: Any) -> Query:
    body: BaseModel = parse(json.dumps({"model": "m", **fields}).encode(), schema)
    query: Query = body.query()  # type: ignore[attr-defined]
    return query


@pytest.mark.parametrize("api", [chat, responses, kept_responses, messages])
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12)
@given(rounds=st.lists(TURNS, min_size=1, max_size=2), tools=st.booleans())
def test_a_reply_sent_back_with_results_is_answered(
    folder: Path,
    family: str,
    api: Callable[[Sequence[Turns], bool], Query],
    rounds: list[Turns],
    tools: bool,
) -> None:
    query = api(rounds, tools)
    check_query(query)
    [request] = requests(prompter(folder, family), query)
    assert isinstance(query.prompt, Conversation)
    for message in query.prompt.messages:
        assert (message.content or "") in request.prompt or message.role == "assistant"
        assert all(f'"{call.name}"' in request.prompt for call in message.calls)


@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_template_shows_the_system_prompt_and_the_tools(folder: Path, family: str, tools: bool) -> None:
    asked = chat([], tools)
    [by_recipe] = requests(prompter(folder, family, "You are brief."), asked)
    said = [{"role": "system", "content": "Be"}, {"role": "developer", "content": "brief."}]
    said += [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    said += [{"role": "system", "content": "Now be long."}, {"role": "user", "content": "question"}]
    functions = [{"type": "function", "function": {"name": name}} for name in NAMES] if tools else None
    several = _query(ChatCompletionRequest, messages=said, tools=functions)
    [by_client] = requests(prompter(folder, family), several)
    assert "You are brief." in by_recipe.prompt
    assert all(text in by_client.prompt for text in ("Be", "brief.", "Hello", "Now be long.", "question"))
    for request in (by_recipe, by_client):
        assert all(("weather" in request.prompt, "clock" in request.prompt)) == tools


@pytest.mark.parametrize(
    ("turn", "call"),
    [
        # As DeepSeek V3 and R1 have it: a null beside calls, and arguments that are text.
        (
            "{% if m.content is none %}{% for c in m.tool_calls %}<call>{{ c.function.name }} "
            "{{ '```' + c.function.arguments + '```' }}{% endfor %}"
            "{% elif m.role == 'assistant' %}{{ '<said>' + m.content }}{% else %}{{ m.content }}{% endif %}",
            '<call>clock ```{"city": "Seoul"}```',
        ),
        (
            "{% if m.tool_calls %}{{ raise_exception('no calls') }}{% endif %}"
            "{% if m.role == 'tool' %}{{ raise_exception('no results') }}{% endif %}{{ m.content }}",
            '<tool_call>\n{"name": "clock", "arguments": {"city": "Seoul"}}\n</tool_call>',
        ),
        (
            "{{ m.content }}{% for c in m.tool_calls %}<{{ c.function.name }}>"
            "{% for k, v in c.function.arguments | items %}{{ k }}={{ v }}{% endfor %}{% endfor %}",
            "<clock>city=Seoul",
        ),
    ],
)
def test_templates_of_other_kinds_show_calls_and_results_too(tmp_path: Path, turn: str, call: str) -> None:
    by = prompter_of(tmp_path, "{% for m in messages %}" + turn + "{% endfor %}")
    parts = (CallStart(0, "clock"), CallArguments(0, '{"city": "Seoul"}'))
    called = Turns([Piece(parts, 5), Piece((), 0, "tool_calls")], False, True)
    [request] = requests(by, chat([called], True))
    places = [request.prompt.rindex(word) for word in ("question", call, "result 0.0", "text 0")]
    assert places == sorted(places)


@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_system_prompt_stays_when_the_result_of_a_call_comes_last(
    folder: Path, family: str, tools: bool
) -> None:
    called = Turns([Piece((CallStart(0, "clock"),), 5), Piece((), 0, "tool_calls")], False, False)
    [request] = requests(prompter(folder, family, "You are brief."), chat([called], tools))
    assert "result 0.0" in request.prompt
    assert request.prompt.count("You are brief.") == 1


@pytest.mark.parametrize(("family", "most"), [("llama-3.2", 1), ("qwen2.5", None), ("llama-3", None)])
def test_an_answer_has_one_call_at_most_where_the_template_takes_one_in_a_turn(
    folder: Path, family: str, most: int | None
) -> None:
    functions = [{"type": "function", "function": {"name": name}} for name in NAMES]
    asked = _query(
        ChatCompletionRequest,
        messages=[{"role": "user", "content": "Hi"}],
        tools=functions,
        tool_choice="required",
    )
    [request] = requests(prompter(folder, family), asked)
    assert request.sampling.grammar is not None
    assert json.loads(request.sampling.grammar.text).get("maxItems") == most
    assert prompter(folder, family).interpretation(asked, request).one_call == (most == 1)


def test_results_follow_their_calls_and_ids_have_the_form_that_the_template_wants(folder: Path) -> None:
    def call(name: str, call_id: str) -> dict[str, Any]:
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}

    calls = [call("weather", "call_1"), call("clock", "call_2")]
    said = [
        {"role": "user", "content": "question"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    asked = _query(ChatCompletionRequest, messages=said)
    [request] = requests(prompter(folder, "llama-3.2"), asked)
    places = [request.prompt.index(word) for word in ('"weather"', "sunny", '"clock"', "noon")]
    assert places == sorted(places)
    [request] = requests(prompter(folder, "mistral-nemo"), asked)
    ids = re.findall(r'"(?:call_)?id": "([^"]*)"', request.prompt)
    assert ids == [ids[0], ids[1], ids[1], ids[0]]
    assert all(len(name) == 9 and name.isalnum() for name in ids)
