"""What the bodies of requests may hold."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.queries import MESSAGES, asked, chat, completion, refused, rendered

from slipway.contract.errors import InvalidRequest
from slipway.gateway.bounds import MAX_ITEMS, MAX_PARTS, MAX_TOOLS
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.completions.schema import CompletionRequest
from slipway.gateway.errors import (
    MalformedBody,
    MissingField,
    NotOffered,
    UnknownField,
    UnsupportedMediaType,
    WrongType,
    http_error,
)
from slipway.gateway.messages.schema import MessagesRequest
from slipway.gateway.query import Prompts, Query
from slipway.gateway.responses.schema import ResponsesRequest
from slipway.gateway.shapes.body import Body
from slipway.gateway.shapes.parsing import check_media_type, parse


def test_what_is_left_out_gets_the_documented_defaults() -> None:
    params = asked(chat(), 28)
    assert (params.temperature, params.top_p, params.top_k, params.seed) == (1.0, 1.0, 0, None)
    assert params.max_tokens == 100, "what the context leaves"
    assert not params.ignore_eos


def test_usage_in_each_chunk_is_for_who_wants_usage_at_all() -> None:
    running = {"continuous_usage_stats": True}
    assert refused(stream=True, stream_options=running).param == "stream_options.continuous_usage_stats"
    assert chat(stream=True, stream_options={**running, "include_usage": True}).continuous_usage


TOO_MANY = MAX_PARTS + 1


TEXTS = [{"type": "text", "text": "x"}] * TOO_MANY


MADE = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("schema", "fields", "param"),
    [
        (ChatCompletionRequest, {"messages": [{"role": "user", "content": TEXTS}]}, "messages[0].content"),
        (
            ChatCompletionRequest,
            {"messages": [{"role": "assistant", "tool_calls": [MADE] * TOO_MANY}]},
            "messages[0].tool_calls",
        ),
        (MessagesRequest, {"messages": [{"role": "user", "content": TEXTS}]}, "messages[0].content"),
        (MessagesRequest, {"messages": MESSAGES, "system": TEXTS}, "system"),
        (
            MessagesRequest,
            {"messages": MESSAGES, "tools": [{"name": "f", "input_schema": {}}] * (MAX_TOOLS + 1)},
            "tools",
        ),
        (ResponsesRequest, {"input": MESSAGES * (MAX_ITEMS + 1)}, "input"),
        (
            ResponsesRequest,
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}] * TOO_MANY}]},
            "input[0].content",
        ),
    ],
)
def test_a_list_with_too_many_entries_is_named_with_both_numbers(
    schema: type[Body], fields: dict[str, object], param: str
) -> None:
    needed = {"max_tokens": 1} if schema is MessagesRequest else {}
    with pytest.raises(InvalidRequest, match=r"has \d+ entries; the most is \d+\.") as caught:
        parse(json.dumps({"model": "m", **needed, **fields}).encode(), schema)
    assert caught.value.param == param


def test_null_means_left_out() -> None:
    names = [name for name in ChatCompletionRequest.model_fields if name not in ("model", "messages")]
    assert asked(chat(**dict.fromkeys(names))) == asked(chat())


def test_an_unknown_field_is_answered_in_one_line_with_the_right_one_where_there_is_one() -> None:
    assert str(refused(temprature=1)) == "temprature is not a field of this endpoint; temperature is."
    for unknown in ("beam_width", "temperature" * 10):
        assert str(refused(**{unknown: 1})) == (
            f"{unknown} is not a field of this endpoint; leave it out; the page /docs lists the fields."
        )
    for other in ("max_length", "max_new_tokens", "n_predict"):
        assert str(refused(**{other: 9})).endswith("; max_completion_tokens is.")
        with pytest.raises(InvalidRequest, match="; max_tokens is"):
            completion(**{other: 9})
    assert str(refused(guided_json={})).endswith('; give structured_outputs with {"json": …}.')
    assert str(refused(guided_choice=["a"])).endswith('; give structured_outputs with {"choice": …}.')


def test_both_names_of_max_tokens_count() -> None:
    assert asked(chat(max_tokens=5), 1).max_tokens == 5
    assert asked(chat(max_completion_tokens=6), 1).max_tokens == 6
    assert asked(chat(max_tokens=7, max_completion_tokens=7), 1).max_tokens == 7
    error = refused(max_tokens=5, max_completion_tokens=6)
    assert error.param == "max_completion_tokens"
    assert "5" in str(error)
    assert "6" in str(error)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", -0.1),
        ("top_p", 1.5),
        ("top_k", -2),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("repetition_penalty", 0),
        ("repetition_penalty", 101),
        ("min_p", 1.1),
        ("top_logprobs", 21),
        ("top_logprobs", -1),
        ("top_logprobs", 1),
        ("min_tokens", -1),
        ("max_tokens", 0),
        ("max_completion_tokens", -1),
        ("n", 0),
        ("n", 129),
        ("seed", 2**64),
        ("seed", -(2**63) - 1),
        ("stop", ""),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("messages", []),
        ("model", ""),
    ],
)
def test_a_value_out_of_range_is_named(field: str, value: object) -> None:
    error = refused(**{field: value})
    assert error.param == field
    assert str(error).startswith(field)
    assert http_error(error).status == 400


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "0.5"),
        ("temperature", True),
        ("max_tokens", "5"),
        ("max_tokens", 5.5),
        ("max_tokens", True),
        ("stream", "yes"),
        ("stream", 1),
        ("stop", 3),
        ("messages", "Hi"),
        ("model", 3),
        ("seed", 1.5),
        ("logprobs", 1),
        ("logit_bias", [5]),
    ],
)
def test_a_wrong_type_is_named(field: str, value: object) -> None:
    error = refused(**{field: value})
    assert isinstance(error, WrongType)
    assert error.param == field


def test_the_place_of_an_error_is_written_as_openai_writes_it() -> None:
    assert refused(messages=[{"role": "user"}]).param == "messages[0].content"
    assert refused(messages=[{"role": "robot", "content": "x"}]).param == "messages[0].role"
    assert refused(messages=[{"role": "user", "content": None}]).param == "messages[0].content"
    assert refused(stop=["a", ""]).param == "stop[1]"
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    error = refused(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, image]}])
    assert error.param == "messages[0].content[1].type"
    assert "image_url" in str(error)


def test_an_unknown_field_is_an_error() -> None:
    error = refused(temprature=0.5)
    assert isinstance(error, UnknownField)
    assert error.param == "temprature"
    assert "temperature" in str(error), "the known ones are listed"


@pytest.mark.parametrize(
    ("field", "neutral", "other"),
    [
        ("functions", [], [{"name": "f"}]),
        ("modalities", ["text"], ["audio"]),
    ],
)
def test_what_is_not_offered_is_accepted_only_where_it_asks_for_nothing(
    field: str, neutral: object, other: object
) -> None:
    chat(**{field: neutral})
    error = refused(**{field: other})
    assert isinstance(error, NotOffered)
    assert error.param == field


def test_fields_that_do_not_change_the_answer_are_ignored() -> None:
    body = chat(user="u", metadata={"a": "b"}, store=True, service_tier="auto", prompt_cache_key="k")
    assert asked(body, 28) == asked(chat(), 28)


def test_an_earlier_answer_can_be_given_back_as_the_client_has_it() -> None:
    earlier = {"role": "assistant", "content": "Hello", "refusal": None, "tool_calls": None, "audio": None}
    assert rendered(messages=[*MESSAGES, earlier])[1] == {"role": "assistant", "content": "Hello"}


def test_text_parts_are_joined_by_line_breaks() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert rendered(messages=[{"role": "user", "content": parts}]) == [{"role": "user", "content": "a\nb"}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"model": "m", "prompt": "\xff"}',
        b'{"model": "m", "prompt": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model": "m", "prompt": "x"} x',
    ],
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        parse(body, CompletionRequest)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_break_the_parser(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(body, CompletionRequest)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


FIELDS = [
    *((chat, name) for name in ChatCompletionRequest.model_fields),
    *((completion, name) for name in CompletionRequest.model_fields),
]


@given(st.sampled_from(FIELDS), json_values)
def test_any_value_in_any_field_is_taken_or_refused_by_name(
    of: tuple[Callable[..., Query], str], value: object
) -> None:
    written, field = of
    try:
        asked(written(**{field: value}), 28)
    except InvalidRequest as error:
        refusal = error
    else:
        return
    assert refusal.param is None or refusal.param.startswith(field)
    assert len(str(refusal)) < 2000


def test_a_body_of_thousands_of_errors_is_refused_without_listing_them() -> None:
    body = json.dumps({"model": "m", "prompt": "x"} | {f"field{n}": 1 for n in range(100_000)})
    with pytest.raises(InvalidRequest, match="100000 errors"):
        parse(body.encode(), CompletionRequest)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(MissingField) as caught:
        parse(b'{"model": "m"}', CompletionRequest)
    assert caught.value.param == "prompt"


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", ("a",)),
        (["a", ""], ("a", "")),
        ([1, 2], ((1, 2),)),
        ([[1], [2, 3]], ((1,), (2, 3))),
    ],
)
def test_a_prompt_has_the_four_shapes_of_openai(
    prompt: object, expected: tuple[str | tuple[int, ...], ...]
) -> None:
    assert completion(prompt=prompt).prompt == Prompts(expected)


@pytest.mark.parametrize(
    ("prompt", "param"),
    [
        (None, "prompt"),
        (5, "prompt"),
        ({}, "prompt"),
        ([], "prompt"),
        ([None], "prompt"),
        (["a", 1], "prompt[1]"),
        ([1, "a"], "prompt[1]"),
        ([1, True], "prompt[1]"),
        ([1, -1], "prompt[1]"),
        ([[1], []], "prompt[1]"),
        ([[1], ["a"]], "prompt[1][0]"),
        (["a"] * 129, "prompt"),
    ],
)
def test_another_shape_is_refused_where_it_begins(prompt: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        completion(prompt=prompt)
    assert caught.value.param == param


def test_only_json_is_read() -> None:
    check_media_type("application/json")
    check_media_type("Application/JSON; charset=utf-8")
    for other in (None, "text/plain", "application/x-www-form-urlencoded"):
        with pytest.raises(UnsupportedMediaType, match="application/json"):
            check_media_type(other)


def test_a_body_that_is_compressed_is_refused_as_such() -> None:
    check_media_type("application/json", "identity")
    with pytest.raises(UnsupportedMediaType, match="Content-Encoding is gzip"):
        check_media_type("application/json", "gzip")
