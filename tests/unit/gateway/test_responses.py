"""/v1/responses without a server: what becomes of a body, and what OpenAI's client makes of an answer."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response
from support.answer_parts import JSON_VALUES, PROMPT_TOKENS, answers, openai_client, streamed, whole

from slipway.contract.errors import EngineFailed, InvalidRequest
from slipway.contract.generation import Grammar
from slipway.gateway.answers.answer import Piece
from slipway.gateway.query import Call, Conversation, Message, Query, Tool
from slipway.gateway.responses.object import ResponseObject
from slipway.gateway.responses.reply import ResponsesReply
from slipway.gateway.responses.schema import ResponsesRequest
from slipway.gateway.responses.tools import CalledFunction
from slipway.gateway.shapes.parsing import parse
from slipway.gateway.shapes.reply import Head
from slipway.gateway.validation import check_query
from slipway.text.parts import AnswerReasoning, AnswerText, CallArguments, CallStart

ASKED: dict[str, Any] = {"model": "m", "input": "Hi"}


def body(**fields: object) -> ResponsesRequest:
    return parse(json.dumps(ASKED | fields).encode(), ResponsesRequest)


class Kept:
    """What was given to the store."""

    def __init__(self) -> None:
        self.responses: list[ResponseObject] = []
        self.messages: tuple[Message, ...] = ()

    def __call__(self, response: ResponseObject, messages: tuple[Message, ...]) -> None:
        self.responses.append(response)
        self.messages = messages


def reply(kept: Kept | None = None, **fields: object) -> ResponsesReply:
    started = ResponseObject.started(Head("resp_x", "m", created=1), body(**fields))
    return ResponsesReply(started, kept or Kept())


def query(earlier: Sequence[Message] = (), **fields: object) -> Query:
    asked = body(**fields).query(earlier, body(**fields).said())
    check_query(asked)
    return asked


def without_ids(response: Response) -> dict[str, Any]:
    shown = response.model_dump(exclude={"completed_at"})
    for item in shown["output"]:
        item.pop("id")
        item.pop("call_id", None)
        item.pop("parsed_arguments", None)
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return shown


@settings(max_examples=60)
@given(answers())
def test_a_stream_ends_with_the_response_that_comes_whole_and_its_events_fold_to_it(
    pieces: list[Piece],
) -> None:
    kept = Kept()
    told = openai_client(whole(reply(kept), pieces)).responses.create(**ASKED)
    sent = streamed(reply(kept), pieces)
    events = list(openai_client(sent).responses.create(**ASKED, stream=True))
    ended = events[-1].response
    assert without_ids(ended) == without_ids(told)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == ended.output
    with openai_client(sent).responses.stream(**ASKED) as stream:
        # What the client itself makes of the pieces; the last of each item is the item.
        folded = {event.output_index: event.snapshot for event in stream if hasattr(event, "snapshot")}
    for index, item in enumerate(ended.output):
        if item.type == "message":
            assert folded[index] == item.content[0].text
        if item.type == "function_call":
            assert folded.get(index, "") == item.arguments
    assert len(kept.responses) == 2
    assert told.usage.input_tokens == PROMPT_TOKENS


def test_every_event_and_object_has_what_the_clients_types_want() -> None:
    parts = (AnswerReasoning("hm"), AnswerText("a"), CallStart(0, "f"), CallArguments(0, "{}"))
    pieces = [*(Piece((part,), 1) for part in parts), Piece((), 0, "tool_calls")]
    strict = Response.model_validate_json(whole(reply(), pieces))
    assert [item.type for item in strict.output] == ["reasoning", "message", "function_call"]
    assert strict.usage is not None
    assert strict.usage.output_tokens_details.reasoning_tokens == 1
    for event in openai_client(streamed(reply(), pieces)).responses.create(**ASKED, stream=True):
        type(event).model_validate(event.to_dict())


def test_a_response_that_was_cut_says_by_what() -> None:
    pieces = [Piece((AnswerText("a"),), 1), Piece((), 0, "length")]
    response = openai_client(whole(reply(), pieces)).responses.create(**ASKED)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"


def test_what_was_asked_is_told_with_the_response() -> None:
    fields: dict[str, Any] = {
        "metadata": {"a": "b"},
        "instructions": "Be brief",
        "temperature": 0.5,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "f"},
        "user": "u",
    }
    response = Response.model_validate_json(whole(reply(**fields), [Piece((), 0, "stop")]))
    shown = response.to_dict()
    assert {name: shown[name] for name in fields if name not in ("text", "tools")} == {
        name: value for name, value in fields.items() if name not in ("text", "tools")
    }
    assert shown["text"]["format"] == fields["text"]["format"]
    assert fields["tools"][0].items() <= shown["tools"][0].items()


@given(st.sampled_from(sorted(ResponsesRequest.model_fields)), JSON_VALUES)
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


def test_an_error_in_a_stream_is_told_and_fails_the_response() -> None:
    shape = reply()
    sent = (
        shape.opening(1) + shape.piece(Piece((AnswerText("a"),), 1)) + shape.failure(EngineFailed("It died."))
    )
    *_, error, failed = openai_client(sent).responses.create(**ASKED, stream=True)
    assert (error.type, error.message, error.code) == ("error", "It died.", "engine_failed")
    assert (failed.type, failed.response.status) == ("response.failed", "failed")
    assert failed.response.error.code == "server_error"


def test_a_response_is_kept_as_messages_without_thoughts_unless_the_client_says_no() -> None:
    kept = Kept()
    parts = (AnswerReasoning("hm"), AnswerText("a"), CallStart(0, "f"), CallArguments(0, "{}"))
    pieces = [Piece(parts, 4), Piece((), 0, "tool_calls")]
    answered = json.loads(whole(reply(kept), pieces))
    call = Call(answered["output"][2]["call_id"], "f", {})
    assert kept.messages == (Message("assistant", "a", (call,)),)
    refused = Kept()
    whole(reply(refused, store=False), pieces)
    streamed(reply(refused, store=False), pieces)
    assert not refused.responses


def test_a_call_that_was_cut_is_kept_with_the_arguments_that_came() -> None:
    kept = Kept()
    whole(
        reply(kept),
        [Piece((AnswerText("a"), CallStart(0, "f"), CallArguments(0, '{"b')), 4), Piece((), 0, "length")],
    )
    [message] = kept.messages
    assert [(call.name, call.arguments) for call in message.calls] == [("f", {})]


def test_an_answer_can_be_given_back_with_all_that_the_clients_types_have() -> None:
    call = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
    tool = {"type": "function", "name": "f", "parameters": None, "strict": None}
    same = {"async": None, "caller": None, "namespace": None, "id": None, "status": None}
    more = {"async": False, "allowed_callers": None, "output_schema": None, "defer_loading": None}
    given = {"input": [call], "tools": [tool]}
    assert query(input=[call | same], tools=[tool | more]) == query(**given)
    started = ResponseObject.started(Head("resp_x", "m", created=1), body(tools=[tool | more]))
    assert started.tools == [tool | {"description": None}]


def test_a_body_asks_for_the_same_as_a_chat() -> None:
    asked = query(
        earlier=[Message("user", "Hi"), Message("assistant", "Hello")],
        instructions="Be brief",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "b", "annotations": []}],
            },
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "c"},
        ],
        max_output_tokens=9,
        text={"format": {"type": "json_object"}},
        tools=[{"type": "function", "name": "f", "parameters": {}, "strict": True}],
        tool_choice={"type": "function", "name": "f"},
    )
    assert asked.prompt == Conversation(
        (
            Message("system", "Be brief"),
            Message("user", "Hi"),
            Message("assistant", "Hello"),
            Message("user", "a"),
            Message("assistant", "b", (Call("1", "f", {}),)),
            Message("tool", "c", call_id="1"),
        ),
        tools=(Tool("f", None, {}, True, "tools[0]"),),
        tool_choice="required",
        only_tool="f",
    )
    assert (asked.max_tokens, asked.named("max_tokens")) == (9, "max_output_tokens")
    assert asked.grammar == Grammar("json_schema", '{"type": "object"}')


def test_hints_without_an_effect_are_named() -> None:
    asked = query(
        include=["reasoning.encrypted_content"],
        reasoning={"summary": None},
        truncation="auto",
        client_metadata={"a": "b"},
        service_tier=None,
        prompt_cache_options={},
    )
    assert set(asked.ignored) == {"truncation", "include", "client_metadata"}
    assert query(include=[], store=False, metadata={"a": "b"}).ignored == ()


READ = {"type": "function", "name": "read"}
FILES = {"type": "namespace", "name": "mcp__files", "description": "Files", "tools": [READ]}


def test_a_function_of_a_namespace_has_one_name_for_the_model_and_its_own_for_the_client() -> None:
    call = {"type": "function_call", "call_id": "1", "namespace": "mcp__files", "name": "read"}
    asked = query(
        tools=[READ, FILES, {**FILES, "name": "mcp__web__"}, {"type": "web_search", "filters": {}}],
        input=[call | {"arguments": "{}"}],
    )
    assert isinstance(asked.prompt, Conversation)
    assert [(tool.name, tool.source) for tool in asked.prompt.tools] == [
        ("read", "tools[0]"),
        ("mcp__files__read", "tools[1].tools[0]"),
        ("mcp__web__read", "tools[2].tools[0]"),
    ]
    assert asked.prompt.messages == (Message("assistant", "", (Call("1", "mcp__files__read", {}),)),)
    assert asked.ignored == ("tools[1].description", "tools[2].description", "tools[3]")


@given(answers())
def test_calls_are_answered_with_the_names_that_the_client_gave(pieces: list[Piece]) -> None:
    kept, functions = Kept(), {"tool": CalledFunction("read", "mcp__files")}
    started = ResponseObject.started(Head("resp_x", "m", created=1), body(tools=[FILES]))
    told = openai_client(whole(ResponsesReply(started, kept, functions), pieces)).responses.create(**ASKED)
    sent = streamed(ResponsesReply(started, kept, functions), pieces)
    for event in openai_client(sent).responses.create(**ASKED, stream=True):
        if event.type == "response.function_call_arguments.done":
            assert event.name == "read"
        if event.type == "response.output_item.added" and event.item.type == "function_call":
            assert (event.item.namespace, event.item.name) == ("mcp__files", "read")
    for item in told.output:
        if item.type == "function_call":
            assert (item.namespace, item.name) == ("mcp__files", "read")
    assert all(call.name == "tool" for message in kept.messages for call in message.calls)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"tools": [FILES] * 2}, "tools[1].tools[0].name"),
        ({"tools": [FILES | {"tools": [{"type": "custom", "name": "x"}]}]}, "tools[0].tools[0].type"),
        ({"tools": [FILES | {"tools": [READ] * 100}] * 2}, "tools"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
        ({"temperature": 3}, "temperature"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"background": True}, "background"),
        ({"truncation": "last"}, "truncation"),
        ({"reasoning": {"effort": "a lot"}}, "reasoning.effort"),
        ({"tools": [{"type": "file_search"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "name": "f"}] * 2}, "tools[1].name"),
        ({"input": [{"role": "user", "content": "Hi"}] * 2049}, "input"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"n": 2}, "n"),
    ],
)
def test_an_error_names_the_field_as_the_client_wrote_it(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        query(**fields)
    assert caught.value.param == param
    assert str(caught.value).startswith(param)


def test_a_body_of_thousands_of_wrong_items_is_refused_at_the_first() -> None:
    with pytest.raises(InvalidRequest, match=r"input\[0\] must be an item"):
        body(input=[{"type": "x"}] * 50_000)
