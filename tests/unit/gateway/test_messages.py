"""/v1/messages without a server: what becomes of a body, and what Anthropic's client makes of an answer."""

import json
from typing import Any

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import queries
from support.answer_parts import JSON_VALUES, PROMPT_TOKENS, answers, anthropic_client, streamed, whole

from slipway.contract.errors import EngineFailed, InvalidRequest
from slipway.contract.generation import Grammar
from slipway.gateway.answers.answer import Piece
from slipway.gateway.messages.reply import MessagesReply
from slipway.gateway.messages.schema import MessagesRequest
from slipway.gateway.query import Call, Conversation, Message, Query, Thinking, Tool
from slipway.gateway.shapes.parsing import parse
from slipway.gateway.shapes.reply import Head
from slipway.gateway.validation import check_query
from slipway.text.parts import AnswerText

HI = [{"role": "user", "content": "Hi"}]
ASKED: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": HI}


def reply() -> MessagesReply:
    return MessagesReply(Head("msg_x", "m"), PROMPT_TOKENS, ["END"])


def query(**fields: object) -> Query:
    asked = parse(json.dumps(ASKED | fields).encode(), MessagesRequest).query()
    check_query(asked)
    return asked


def conversation(**fields: object) -> Conversation:
    prompt = query(**fields).prompt
    assert isinstance(prompt, Conversation)
    return prompt


def without_ids(message: anthropic.types.Message) -> dict[str, Any]:
    shown = message.model_dump()
    for block in shown["content"]:
        block.pop("id", None)
        block.pop("parsed_output", None)
    return shown


@settings(max_examples=60)
@given(answers())
def test_the_events_fold_to_the_message_that_comes_whole(pieces: list[Piece]) -> None:
    told = anthropic_client(whole(reply(), pieces)).messages.create(**ASKED)
    with anthropic_client(streamed(reply(), pieces)).messages.stream(**ASKED) as stream:
        folded = stream.get_final_message()
    assert without_ids(folded) == without_ids(told)


@pytest.mark.parametrize(
    ("last", "reason", "sequence"),
    [
        (Piece((), 0, "stop"), "end_turn", None),
        (Piece((), 0, "stop", stop="END"), "stop_sequence", "END"),
        (Piece((), 0, "stop", stop="<|recipe|>"), "end_turn", None),
        (Piece((), 0, "length"), "max_tokens", None),
        (Piece((), 0, "tool_calls"), "tool_use", None),
    ],
)
def test_the_reason_of_the_end_is_told_in_anthropics_words(
    last: Piece, reason: str, sequence: str | None
) -> None:
    message = anthropic_client(whole(reply(), [Piece((AnswerText("a"),), 1), last])).messages.create(**ASKED)
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)


def test_an_answer_may_end_with_the_context_before_its_max_tokens() -> None:
    pieces = [Piece((AnswerText("a"),), 1), Piece((), 0, "length")]
    shape = MessagesReply(Head("msg_x", "m"), PROMPT_TOKENS, fills_context=True)
    message = anthropic_client(whole(shape, pieces)).messages.create(**ASKED)
    assert message.stop_reason == "model_context_window_exceeded"
    assert queries.asked(query(max_tokens=32_000), 100).max_tokens == 28


def test_tokens_of_the_prompt_that_were_cached_are_not_counted_twice() -> None:
    pieces = [Piece((AnswerText("a"),), 2), Piece((), 0, "stop", cached_tokens=7)]
    usage = anthropic_client(whole(reply(), pieces)).messages.create(**ASKED).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (2, 7, 2)


@given(st.sampled_from(sorted(MessagesRequest.model_fields)), JSON_VALUES)
def test_any_value_in_any_field_is_taken_or_refused_by_name(field: str, value: object) -> None:
    try:
        query(**{field: value})
    except InvalidRequest as error:
        refusal = error
    else:
        return
    assert refusal.param is not None
    assert refusal.param.startswith(field)
    assert len(str(refusal)) < 2000


def test_an_error_in_a_stream_is_raised_by_the_client() -> None:
    shape = reply()
    sent = (
        shape.opening(1) + shape.piece(Piece((AnswerText("a"),), 1)) + shape.failure(EngineFailed("It died."))
    )
    stream = anthropic_client(sent).messages.create(**ASKED, stream=True)
    with pytest.raises(anthropic.APIStatusError, match="It died") as caught:
        list(stream)
    assert caught.value.body["error"]["type"] == "api_error"


def test_a_body_asks_for_the_same_as_a_chat() -> None:
    asked = query(
        system=[{"type": "text", "text": "Be"}, {"type": "text", "text": "brief", "cache_control": {}}],
        messages=[
            *HI,
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": ""}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ],
        stop_sequences=["END"],
        temperature=0.5,
        top_k=3,
        thinking={"type": "disabled"},
        metadata={"user_id": "u"},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
    )
    assert asked.prompt == Conversation(
        (
            Message("system", "Be\nbrief"),
            Message("user", "Hi"),
            Message("assistant", "Hello"),
            Message("user", "a\nb"),
        ),
        thinking=Thinking("none"),
    )
    assert (asked.max_tokens, asked.stop, asked.temperature, asked.top_k) == (9, ("END",), 0.5, 3)
    assert asked.grammar == Grammar("json_schema", '{"type": "object"}')


def test_the_beginning_of_an_answer_is_gone_on_from() -> None:
    prefill = {"role": "assistant", "content": "He"}
    assert conversation(messages=[*HI, prefill]).continue_last
    assert not conversation(messages=[*HI, prefill, *HI]).continue_last


def test_tools_their_calls_and_results_become_those_of_a_chat() -> None:
    asked = conversation(
        tools=[{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        messages=[
            *HI,
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Wait"},
                    {"type": "tool_use", "id": "1", "name": "f", "input": {"x": "가"}},
                    {"type": "tool_use", "id": "2", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "y"}]},
                    {"type": "tool_result", "tool_use_id": "2", "content": "no", "is_error": True},
                    {"type": "text", "text": "Go on"},
                ],
            },
        ],
    )
    assert asked.messages == (
        Message("user", "Hi"),
        Message("assistant", "Wait", (Call("1", "f", {"x": "가"}), Call("2", "f", {}))),
        Message("tool", "y", call_id="1"),
        Message("tool", "Error: no", call_id="2"),
        Message("user", "Go on"),
    )
    assert asked.tools == (Tool("f", "d", {"type": "object"}, None, "tools[0]"),)
    assert asked.must_call
    assert not asked.parallel_calls


def test_hints_without_an_effect_are_named() -> None:
    asked = query(
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        metadata={"user_id": "u"},
    )
    assert set(asked.ignored) == {"context_management.edits", "metadata"}


IMAGE = {"type": "image", "source": {"type": "url", "url": "http://x"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 1.5}, "temperature"),
        ({"stop_sequences": list("abcde")}, "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
        ({"system": 3}, "system"),
        ({"thinking": {"type": "enabled", "budget_tokens": "all"}}, "thinking.budget_tokens"),
        (
            {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
            "context_management.edits[0].type",
        ),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "f", "input_schema": {}}] * 2}, "tools[1].name"),
        ({"output_config": {"effort": "a lot"}}, "output_config.effort"),
        ({"n": 2}, "n"),
    ],
)
def test_an_error_names_the_field_as_the_client_wrote_it(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        query(**fields)
    assert caught.value.param == param
    assert str(caught.value).startswith(param)


def test_fields_are_named_as_the_client_named_them() -> None:
    asked = query(messages=[*HI, {"role": "assistant", "content": "He"}])
    assert asked.named("stop") == "stop_sequences"
    assert asked.named("continue_final_message") == "messages[1]"
    assert asked.named("temperature") == "temperature"
