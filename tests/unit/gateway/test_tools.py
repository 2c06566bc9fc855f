"""Tools in a chat's body: what is refused, what the template reads, and how the answer is parsed."""

import json
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.templates import template_of
from support.turns import turn

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Delta, FinishReason, GenerationRequest, SamplingParams
from slipway.gateway.answers.answer import Answer, Listener, Piece, stream_answer
from slipway.gateway.answers.interpretation import Interpretation
from slipway.gateway.chat.reply import ChatReply
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.conversation import template_messages, tool_objects
from slipway.gateway.grammars.structure import answer_grammar
from slipway.gateway.query import Conversation, Query
from slipway.gateway.shapes.parsing import parse
from slipway.gateway.shapes.reply import Head
from slipway.gateway.validation import check_query
from slipway.text.answer_parser import AnswerParser
from slipway.text.reasoning import ReasoningSplitter
from slipway.text.template_features import TemplateFeatures
from slipway.text.tool_calls.choice import PARSERS, parser
from slipway.text.tool_calls.description import with_calls_in_words, with_tools_in_words
from slipway.text.tool_calls.enforced import EnforcedParser

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME = {"type": "function", "function": {"name": "time"}}
ASKED = [{"role": "user", "content": "Weather in Seoul?"}]
CALL = {"id": "a1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "서울"}'}}
DONE = [
    *ASKED,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "a1", "content": "Sunny"},
]


def chat(**fields: Any) -> Query:
    body = {"model": "m", "messages": ASKED, **fields}
    query = parse(json.dumps(body).encode(), ChatCompletionRequest).query()
    check_query(query)
    return query


def conversation(**fields: Any) -> Conversation:
    prompt = chat(**fields).prompt
    assert isinstance(prompt, Conversation)
    return prompt


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{**WEATHER, "type": "retrieval"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name"),
        ({"tools": [WEATHER] * 129}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": "any"}, "tool_choice"),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "wheather"}}},
            "tool_choice",
        ),
        (
            {"tools": [WEATHER], "tool_choice": "required", "structured_outputs": {"choice": ["a"]}},
            "tool_choice",
        ),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"messages": [*ASKED, {"role": "tool", "content": "Sunny"}]}, "messages[1].tool_call_id"),
        ({"messages": [{"role": "user", "content": "Hi", "tool_calls": [CALL]}]}, "messages[0].tool_calls"),
    ],
)
def test_what_is_wrong_with_tools_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    assert caught.value.param == param


def test_templates_get_the_arguments_of_earlier_calls_as_objects() -> None:
    turns = template_messages(conversation(messages=DONE).messages, None)
    assert turns[1]["content"] == ""
    assert turns[1]["tool_calls"][0]["function"]["arguments"] == {"city": "서울"}
    assert turns[2] == {"role": "tool", "content": "Sunny", "tool_call_id": "a1"}


def test_a_template_that_knows_no_tools_is_told_of_them_in_words() -> None:
    asked = conversation(messages=DONE, tools=[WEATHER, TIME])
    messages = template_messages(asked.messages, None)
    worded = with_calls_in_words(messages, PARSERS["hermes"])
    turns = with_tools_in_words(worded, tool_objects(asked.offered), PARSERS["hermes"])
    system, question, called, answered = turns
    assert system["role"] == "system"
    assert '"The weather of a city"' in system["content"]
    assert '<tool_call>\n{"name": "TOOL_NAME"' in system["content"]
    assert question == ASKED[0]
    assert called == {
        "role": "assistant",
        "content": '<tool_call>\n{"name": "weather", "arguments": {"city": "서울"}}\n</tool_call>',
    }
    assert (answered["role"], "Sunny" in answered["content"]) == ("user", True)
    own = [{"role": "system", "content": "Be brief."}, *ASKED]
    with_own = with_tools_in_words(own, [WEATHER], PARSERS["hermes"])
    assert with_own[0]["content"].startswith("Be brief.\n\nYou can call tools.")


@pytest.mark.parametrize("family", PARSERS)
def test_what_is_described_as_a_call_is_read_as_one(family: Any) -> None:
    written = PARSERS[family].written("weather", '{"city": "Seoul"}')
    reader = parser(family, ["weather"])
    calls = Answer()
    calls.add(Piece((*reader.push(written), *reader.flush()), 1))
    assert [(call.name, call.text) for call in calls.calls] == [("weather", '{"city": "Seoul"}')]
    assert not calls.text


def test_features_follow_the_template_and_the_recipe(tmp_path: Path) -> None:
    def read(source: str, calls: Any = None) -> tuple[bool, str | None, bool]:
        features = TemplateFeatures.read(template_of(tmp_path, source), calls)
        return features.knows_tools, features.calls, features.thinks

    messages = "{% for m in messages %}{{ m.content }}{% endfor %}"
    with_tools = messages + "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
    assert read(messages) == (False, "hermes", False)
    assert read(with_tools + "<tool_call></think>") == (True, "hermes", True)
    assert read(with_tools + "<function=") == (True, None, False)
    assert read(with_tools + "<function=", "mistral") == (True, "mistral", False)
    assert read(messages + "{# it speaks of tools #}") == (False, "hermes", False), "it shows none"


def test_calls_that_are_required_are_what_the_answer_must_match() -> None:
    bound = answer_grammar(chat(tools=[WEATHER, TIME], tool_choice="required", parallel_tool_calls=False))
    assert bound is not None
    assert json.loads(bound.text)["maxItems"] == 1
    named = chat(tools=[WEATHER, TIME], tool_choice={"type": "function", "function": {"name": "time"}})
    assert "weather" not in (answer_grammar(named) or bound).text


def test_one_tool_of_thirty_that_cannot_be_enforced_is_named() -> None:
    tools = [{"type": "function", "function": {"name": f"f{number}"}} for number in range(30)]
    tools[17]["function"] |= {"parameters": {"properties": {"id": {"const": 2**53 + 1}}}}
    with pytest.raises(InvalidRequest, match=r"the tool f17, .*const at #/properties/id is 900") as caught:
        answer_grammar(chat(tools=tools, tool_choice="required"))
    assert caught.value.param == "tools[17].function"
    assert answer_grammar(chat(tools=tools)) is None


def test_beside_a_schema_tools_can_be_called_all_the_same() -> None:
    city = {
        "$defs": {"c": {"type": "string"}},
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/c"}},
    }
    shape = {"type": "json_schema", "json_schema": {"name": "city", "schema": city}}
    bound = answer_grammar(chat(tools=[WEATHER], response_format=shape))
    assert bound is not None
    calls, answer = json.loads(bound.text)["anyOf"]
    assert calls["type"] == "array"
    assert json.loads(bound.text)["$defs"][answer["$ref"].rsplit("/", 1)[1]]["properties"] == {
        "city": {"$ref": f"{answer['$ref']}/$defs/c"}
    }
    required = answer_grammar(chat(tools=[WEATHER], tool_choice="required", response_format=shape))
    assert required is not None
    assert json.loads(required.text)["type"] == "array", "an answer that must be calls is no city"
    with pytest.raises(InvalidRequest) as caught:
        chat(tools=[WEATHER], structured_outputs={"regex": "a+"})
    assert caught.value.param == "structured_outputs"


def test_no_tools_are_offered_where_none_may_be_called() -> None:
    assert conversation(tools=[WEATHER], tool_choice="none").offered == ()
    assert answer_grammar(chat(tools=[WEATHER], tool_choice="none")) is None


def interpreter(form: str, thinks: bool = False) -> AnswerParser:
    calls = EnforcedParser(["weather"]) if form == "enforced" else parser("hermes", ["weather"])
    return AnswerParser(ReasoningSplitter("") if thinks else None, calls)


class Scripted:
    """Plays texts, a token each, and ends."""

    stats = None

    def __init__(self, texts: Sequence[str], finish: FinishReason) -> None:
        self._deltas = [*(Delta(text, 1) for text in texts), Delta("", 1, finish_reason=finish)]

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        for delta in self._deltas:
            yield delta


async def read(
    interpretation: Interpretation, texts: Sequence[str], finish: FinishReason = "stop"
) -> list[Piece]:
    backend: Any = Scripted(texts, finish)
    request = GenerationRequest("id", "prompt", (1,), SamplingParams(max_tokens=100))
    return [piece async for piece in stream_answer(backend, request, turn(), Listener(interpretation))]


def whole(pieces: Sequence[Piece]) -> Answer:
    answer = Answer()
    for piece in pieces:
        answer.add(piece)
    return answer


HERMES = (
    '<think>hm</think>Let me see.<tool_call>{"name": "weather", "arguments": {"city": "서울"}}</tool_call>'
)
CUTS = st.lists(st.integers(0, len(HERMES)), max_size=6)


@given(CUTS)
async def test_thoughts_text_and_calls_are_parsed_wherever_the_pieces_break(cuts: list[int]) -> None:
    at = [0, *sorted(cuts), len(HERMES)]
    texts = [HERMES[a:b] for a, b in pairwise(at) if a < b]
    pieces = await read(Interpretation(interpreter("hermes", thinks=True)), texts)
    answer = whole(pieces)
    assert (answer.reasoning, answer.text) == ("hm", "Let me see.")
    assert [(call.name, json.loads(call.text)) for call in answer.calls] == [("weather", {"city": "서울"})]
    assert answer.finish_reason == "tool_calls"
    assert answer.tokens == len(texts) + 1, "tokens of what was held back are counted"
    assert all(piece.parts for piece in pieces[:-1])


async def test_an_answer_that_was_cut_says_so_and_shows_no_half_of_a_call_list() -> None:
    cut = '[{"name": "weather", "parameters": {"city": "Seoul"}}, {"na'
    answer = whole(await read(Interpretation(interpreter("enforced"), only_calls=True), [cut], "length"))
    assert answer.finish_reason == "length"
    assert len(answer.calls) == 1
    assert answer.text == ""


@pytest.mark.parametrize(
    ("end", "finish"), [("", "stop"), ('"', "stop"), ('"}', "tool_calls"), ('"}}]', "tool_calls")]
)
async def test_arguments_that_a_stop_string_cut_in_two_call_nothing(end: str, finish: str) -> None:
    texts = ['[{"name": "weather", "parameters": {"city": "Se', end]
    answer = whole(await read(Interpretation(interpreter("enforced"), only_calls=True), texts))
    assert answer.finish_reason == finish


async def test_one_call_ends_the_answer_where_only_one_is_wanted() -> None:
    one = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
    reading = Interpretation(interpreter("hermes"), one_call=True)
    pieces = await read(reading, [one, one, "and so on"])
    answer = whole(pieces)
    assert len(answer.calls) == 1
    assert answer.text == ""
    assert answer.finish_reason == "tool_calls"


async def test_a_text_that_calls_nothing_is_the_text_it_was() -> None:
    texts = ["I could <tool", "_call> but I will not."]
    answer = whole(await read(Interpretation(interpreter("hermes")), texts))
    assert (answer.text, answer.finish_reason) == ("".join(texts), "stop")


async def test_a_call_streams_its_name_first_and_its_arguments_as_they_come() -> None:
    texts = ['<tool_call>{"name": "weather", "arguments": {"ci', 'ty": "Seo', 'ul"}}</tool_call>']
    reply = ChatReply(Head("x", "m", 1))
    pieces = await read(Interpretation(interpreter("hermes")), texts)
    sent = b"".join(reply.piece(piece) for piece in pieces).decode()
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in sent.split("\n\n")[:-1]]
    first, *others = [choice["delta"]["tool_calls"][0] for choice in choices if choice["delta"]]
    assert (first["function"]["name"], first["type"], first["index"]) == ("weather", "function", 0)
    assert len(first["id"]) == 9
    arguments = "".join(call["function"]["arguments"] for call in [first, *others])
    assert json.loads(arguments) == {"city": "Seoul"}
    assert len(others) >= 3, "they come while they are written"
    assert choices[-1]["finish_reason"] == "tool_calls"
