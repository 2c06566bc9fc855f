"""Calls of tools are found in a stream wherever its pieces break, and text that is no call is left alone."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.text.parts import AnswerText, CallArguments, CallStart, Part, merged
from slipway.text.tool_calls.base import ToolCallParser
from slipway.text.tool_calls.choice import choose, parser
from slipway.text.tool_calls.enforced import EnforcedParser
from slipway.text.tool_calls.hermes import HermesParser
from slipway.text.tool_calls.llama3 import Llama3Parser
from slipway.text.tool_calls.mistral import MistralParser

PARSERS: list[type[ToolCallParser]] = [HermesParser, Llama3Parser, MistralParser, EnforcedParser]
OFFERED = ("f", "get_weather")
ARGUMENTS = [{}, {"city": "서울", "days": [1, -2.5e3, None, True], "deep": {"a": [{}, []], "q": '"\\{}[]\n'}}]


def _hermes(calls: list[tuple[str, str]]) -> str:
    return "\n".join(f'<tool_call>\n{{"name": "{n}", "arguments": {a}}}\n</tool_call>' for n, a in calls)


def _llama3(calls: list[tuple[str, str]]) -> str:
    return "; ".join(f'{{"name": "{n}", "parameters": {a}}}' for n, a in calls)


def _llama3_tagged(calls: list[tuple[str, str]]) -> str:
    return ";".join(
        f'<|python_tag|>{{"type": "function", "name": "{n}", "parameters": {a}}}' for n, a in calls
    )


def _array(calls: list[tuple[str, str]]) -> str:
    return "[" + ", ".join(f'{{"name": "{n}", "parameters": {a}}}' for n, a in calls) + "]"


def _mistral(calls: list[tuple[str, str]]) -> str:
    written = ", ".join(f'{{"arguments": {a}, "name": "{n}", "id": "abc123XYZ"}}' for n, a in calls)
    return f"[TOOL_CALLS] [{written}]"


def _mistral_named(calls: list[tuple[str, str]]) -> str:
    return "".join(f"[TOOL_CALLS]{n}[ARGS]{a}" for n, a in calls)


def _mistral_with_id(calls: list[tuple[str, str]]) -> str:
    return "".join(f"[TOOL_CALLS]{n}[CALL_ID]abc123XYZ[ARGS]{a}" for n, a in calls)


FORMS: list[tuple[type[ToolCallParser], Callable[[list[tuple[str, str]]], str]]] = [
    (HermesParser, _hermes),
    (Llama3Parser, _llama3),
    (Llama3Parser, _llama3_tagged),
    (MistralParser, _mistral),
    (MistralParser, _mistral_named),
    (MistralParser, _mistral_with_id),
    (EnforcedParser, _array),
]
forms = pytest.mark.parametrize(("kind", "written"), FORMS, ids=[form.__name__ for _, form in FORMS])


def _parts(kind: type[ToolCallParser], *pieces: str) -> list[Part]:
    reader = kind(OFFERED)
    return merged([part for piece in pieces for part in reader.push(piece)] + reader.flush())


def _calls(*calls: tuple[str, str]) -> list[Part]:
    return [
        part
        for index, (name, arguments) in enumerate(calls)
        for part in (CallStart(index, name), CallArguments(index, arguments))
    ]


@forms
@pytest.mark.parametrize("arguments", [json.dumps(each, ensure_ascii=False) for each in ARGUMENTS])
def test_a_call_is_read_as_the_model_wrote_it(
    kind: type[ToolCallParser], written: Callable[[list[tuple[str, str]]], str], arguments: str
) -> None:
    calls = [("f", arguments), ("get_weather", "{ }"), ("f", arguments)]
    assert _parts(kind, written(calls[:1])) == _calls(*calls[:1])
    assert _parts(kind, written(calls)) == _calls(*calls)
    assert _parts(kind, written(calls) + "\n") == _calls(*calls)


@pytest.mark.parametrize(("kind", "written"), FORMS[:-1])
def test_text_around_calls_stays(
    kind: type[ToolCallParser], written: Callable[[list[tuple[str, str]]], str]
) -> None:
    call = written([("f", "{}")])
    assert _parts(kind, f"I look.\n{call}\n\nDone.") == [
        AnswerText("I look.\n"),
        *_calls(("f", "{}")),
        AnswerText("\n\nDone."),
    ]


# What streams are made of: pieces of every format, so that broken and nested ones come about too.
SCRAPS = st.sampled_from(
    [
        "<tool_call>",
        "</tool_call>",
        "<|python_tag|>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "[CALL_ID]",
        "[",
        "]",
        "{",
        "}",
    ]
    + [
        '{"name": "f", "arguments": ',
        '{"name": "g"',
        '"parameters": {',
        '"name": "get_weather"',
        '"a": 1',
        "{}",
    ]
    + ["f", ",", ", ", ";", " ", "\n", '"', "\\", "안녕", "<", "text", "-1.5", "true", '"x": "y"', ": "]
    + [written([("f", '{"a": [1]}'), ("get_weather", "{}")]) for _, written in FORMS]
)
STREAMS = st.lists(SCRAPS, max_size=12).map("".join) | st.text(max_size=30)


@pytest.mark.parametrize("kind", PARSERS)
@given(stream=STREAMS, data=st.data())
def test_the_breaks_between_pieces_do_not_matter(
    kind: type[ToolCallParser], stream: str, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert _parts(kind, *pieces) == _parts(kind, stream) == _parts(kind, *stream)


@pytest.mark.parametrize("kind", PARSERS)
@given(stream=STREAMS)
def test_calls_have_offered_names_and_rising_indices(kind: type[ToolCallParser], stream: str) -> None:
    parts = _parts(kind, stream)
    starts = [part for part in parts if isinstance(part, CallStart)]
    assert [part.index for part in starts] == list(range(len(starts)))
    assert {part.name for part in starts} <= set(OFFERED)
    assert all(part != AnswerText("") for part in parts)
    if not starts:
        assert "".join(part.text for part in parts if isinstance(part, AnswerText)) == stream


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.integers()
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.booleans(),
)
def test_any_json_object_can_be_an_argument(value: object, spelled: bool) -> None:
    arguments = json.dumps({"value": value}, ensure_ascii=spelled, indent=1 if spelled else None)
    assert _parts(HermesParser, _hermes([("f", arguments)])) == _calls(("f", arguments))


def test_arguments_stream_as_they_are_written() -> None:
    reader = HermesParser(OFFERED)
    assert reader.push('<tool_call>{"name": "f", "arguments": ') == []
    assert reader.push('{"ci') == [CallStart(0, "f"), CallArguments(0, '{"ci')]
    assert reader.push('ty": 1') == [CallArguments(0, 'ty": 1')]


def test_text_is_held_back_only_while_it_could_be_a_call() -> None:
    reader = HermesParser(OFFERED)
    assert reader.push("a < b") == [AnswerText("a < b")]
    assert reader.push("<tool_") == []
    assert reader.push("box>") == [AnswerText("<tool_box>")]
    assert Llama3Parser(OFFERED).push('{"name": "ge') == []
    assert Llama3Parser(OFFERED).push('{"name": "go') == [AnswerText('{"name": "go')]


@forms
def test_a_tool_that_was_not_offered_is_text(
    kind: type[ToolCallParser], written: Callable[[list[tuple[str, str]]], str]
) -> None:
    stream = written([("rm", "{}")])
    assert _parts(kind, stream) == [AnswerText(stream)]


@forms
def test_a_call_that_breaks_off_keeps_what_was_told(
    kind: type[ToolCallParser], written: Callable[[list[tuple[str, str]]], str]
) -> None:
    whole = written([("f", '{"city": "Seoul"}')])
    for length in range(len(whole)):
        match _parts(kind, whole[:length]):
            case [AnswerText(text)]:
                assert text == whole[:length]
            case [CallStart(0, "f"), CallArguments(0, told)]:
                assert '{"city": "Seoul"}'.startswith(told)
            case parts:
                assert parts == []
                assert length == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "[]",
        '"x"',
        "{1: 2}",
        "{,}",
        '{"a":}',
        '{"a": 1,}',
        '{"a": 01}',
        '{"a": tru }',
        '{"a": [}',
    ],
)
def test_arguments_that_are_no_json_object_are_no_call(arguments: str) -> None:
    stream = f'<tool_call>{{"arguments": {arguments}, "name": "f"}}</tool_call>'
    assert _parts(HermesParser, stream) == [AnswerText(stream)]


def test_what_follows_malformed_arguments_is_text() -> None:
    stream = '<tool_call>{"name": "f", "arguments": {"a": 1,}}</tool_call>'
    assert _parts(HermesParser, stream) == [*_calls(("f", '{"a": 1,')), AnswerText("}}</tool_call>")]


def test_line_breaks_within_strings_become_escapes() -> None:
    (_, arguments) = _parts(HermesParser, _hermes([("f", '{"code": "a\n\tb"}')]))
    assert isinstance(arguments, CallArguments)
    assert json.loads(arguments.text) == {"code": "a\n\tb"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"\d+\.py", r"\d+\.py"),
        (r"C:\users\x", r"C:\users\x"),
        (r"\u12\u0041", r"\u12A"),
        (r"it\'s", "it's"),
        ("a\\\nb", "a\\\nb"),
        (r"\n\"\\", '\n"\\'),
    ],
)
def test_escapes_that_json_does_not_have_become_what_they_mean(written: str, meant: str) -> None:
    (_, arguments) = _parts(HermesParser, _hermes([("f", f'{{"pattern": "{written}"}}')]))
    assert isinstance(arguments, CallArguments)
    assert json.loads(arguments.text) == {"pattern": meant}


def test_arguments_nested_without_end_are_text() -> None:
    stream = '{"parameters": {"a": ' + "[" * 100_000
    assert _parts(Llama3Parser, stream) == [AnswerText(stream)]


@pytest.mark.parametrize(
    ("template", "family"),
    [
        ("{{ '[TOOL_CALLS] [' }}", "mistral"),
        ('<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>', "hermes"),
        ("<tool_call>\n<function=example_function_name>", None),
        ('Respond in the format {"name": function name, "parameters": dictionary of argument', "llama3"),
        ("{% for message in messages %}{{ message.content }}{% endfor %}", None),
    ],
)
def test_the_parser_follows_from_the_chat_template(template: str, family: str | None) -> None:
    assert choose(template) == family


def test_each_format_of_a_recipe_has_its_parser() -> None:
    assert isinstance(parser("hermes", OFFERED), HermesParser)
    assert isinstance(parser("llama3", OFFERED), Llama3Parser)
    assert isinstance(parser("mistral", OFFERED), MistralParser)
