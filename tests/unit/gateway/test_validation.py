"""What the gateway makes of a body, without a server."""

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import manifests

from slipway.contract import errors as contract_errors
from slipway.contract.errors import ContextLengthExceeded, InvalidRequest, ModelNotFound, ModelUnavailable
from slipway.contract.generation import Grammar, SamplingParams
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Chat, Limits
from slipway.gateway import errors as gateway_errors
from slipway.gateway.backends.base import Backend
from slipway.gateway.bounds import MAX_ITEMS, MAX_PARTS, MAX_TOOLS
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.completions.schema import CompletionRequest
from slipway.gateway.conversation import template_messages
from slipway.gateway.errors import (
    MalformedBody,
    MissingField,
    ModelForbidden,
    NotOffered,
    UnknownField,
    UnsupportedMediaType,
    WrongType,
    http_error,
)
from slipway.gateway.keys.keys import Caller
from slipway.gateway.messages.schema import MessagesRequest
from slipway.gateway.models import Model, Models
from slipway.gateway.prompter import Prompter
from slipway.gateway.query import Conversation, Prompts, Query
from slipway.gateway.queue import EngineQueue
from slipway.gateway.responses.schema import ResponsesRequest
from slipway.gateway.shapes.body import Body
from slipway.gateway.shapes.error import error_body
from slipway.gateway.shapes.parsing import check_media_type, parse
from slipway.gateway.validation import check_ids, check_query, sampling, stop_strings
from slipway.text.special_tokens import SpecialTokenEscaper
from slipway.text.template import ChatTemplate
from slipway.text.template_features import TemplateFeatures
from slipway.text.tokenizer import Tokenizer

MESSAGES = [{"role": "user", "content": "Hi"}]


LIMITS = Limits(max_batch_size=4, max_input_len=100, max_seq_len=128)


def manifest(system: str | None = None, stop: tuple[str, ...] = ()) -> Manifest:
    return manifests.manifest(LIMITS, vocab_size=1000, chat=Chat(system=system, stop=stop))


def chat(**fields: object) -> Query:
    body = json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode()
    query = parse(body, ChatCompletionRequest).query()
    check_query(query)
    return query


def completion(**fields: object) -> Query:
    return parse(json.dumps({"model": "m", "prompt": "x", **fields}).encode(), CompletionRequest).query()


def asked(query: Query, prompt_tokens: int = 1, prompt_source: str = "messages") -> SamplingParams:
    """What an engine is asked for."""
    return sampling(query, prompt_tokens, manifest(), prompt_source)


def rendered(system: str | None = None, **fields: object) -> list[Mapping[str, Any]]:
    """The messages that the chat template reads."""
    conversation = chat(**fields).prompt
    assert isinstance(conversation, Conversation)
    return template_messages(conversation.messages, system)


def refused(**fields: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    return caught.value


def test_what_is_left_out_gets_the_documented_defaults() -> None:
    params = asked(chat(), 28)
    assert (params.temperature, params.top_p, params.top_k, params.seed) == (1.0, 1.0, 0, None)
    assert params.max_tokens == 100, "what the context leaves"
    assert not params.ignore_eos


def test_a_nucleus_of_nothing_is_the_likeliest_token() -> None:
    params = asked(chat(top_p=0, temperature=2), 28)
    assert (params.top_p, params.top_k, params.temperature) == (1.0, 1, 2.0)
    assert asked(chat(top_p=0, top_k=50), 28).top_k == 1


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


def test_a_misspelled_field_is_told_with_the_right_one_and_another_with_all() -> None:
    assert str(refused(temprature=1)) == "temprature is not a field of this endpoint; temperature is."
    assert "its fields are: model, " in str(refused(beam_width=1))
    assert "its fields are: model, " in str(refused(**{"temperature" * 10: 1}))


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


def test_stream_options_need_a_stream() -> None:
    assert refused(stream_options={"include_usage": True}).param == "stream_options"
    assert chat(stream=True, stream_options={"include_usage": True}).include_usage


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"add_generation_prompt": True}, "both true"),
        ({}, "the user's"),
    ],
)
def test_an_answer_goes_on_only_with_an_answer_and_in_its_turn(fields: dict[str, object], words: str) -> None:
    if "add_generation_prompt" in fields:
        fields["messages"] = [*MESSAGES, {"role": "assistant", "content": "It"}]
    refusal = refused(continue_final_message=True, **fields)
    assert words in str(refusal)
    assert refusal.param == "continue_final_message"


def test_best_of_is_at_least_n_and_not_streamed() -> None:
    assert completion().candidates == 1
    assert completion(n=3).candidates == 3
    assert completion(n=3, best_of=5).candidates == 5
    assert completion(best_of=5).candidates == 5
    assert completion(n=3, best_of=3, stream=True).candidates == 3, "nothing to choose"
    wrong = [{"n": 3, "best_of": 2}, {"best_of": 2, "stream": True}, {"best_of": 0}, {"best_of": 129}]
    for fields in wrong:
        with pytest.raises(InvalidRequest, match=f"best_of .*{fields['best_of']}") as caught:
            completion(**fields)
        assert caught.value.param == "best_of"


def test_a_prompt_beyond_the_engine_is_refused_with_both_lengths() -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        asked(chat(), 101)
    assert "101" in str(caught.value)
    assert "100" in str(caught.value)
    assert error_body(caught.value).error.code == "context_length_exceeded"


def test_more_tokens_than_the_context_leaves_are_refused_with_the_numbers() -> None:
    assert asked(chat(max_tokens=28), 100).max_tokens == 28
    with pytest.raises(ContextLengthExceeded) as caught:
        asked(chat(max_tokens=29), 100)
    assert caught.value.param == "max_tokens"
    assert all(number in str(caught.value) for number in ("29", "100", "28"))


SCHEMA = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "string"}}}
NAMED = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
BY_SCHEMA = Grammar("json_schema", json.dumps(SCHEMA))
ANY_OBJECT = Grammar("json_schema", '{"type": "object"}')


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, ANY_OBJECT),
        ({"response_format": NAMED}, BY_SCHEMA),
        ({"structured_outputs": {"json": SCHEMA}}, BY_SCHEMA),
        ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, BY_SCHEMA),
        ({"structured_outputs": {"json_object": True}}, ANY_OBJECT),
        ({"structured_outputs": {"regex": "[0-9]+"}}, Grammar("regex", "[0-9]+")),
        (
            {"structured_outputs": {"choice": ["네", 'a "no"']}},
            Grammar("ebnf_grammar", 'root ::= "네" | "a \\"no\\""'),
        ),
        ({"structured_outputs": {"grammar": "root ::= [0-9]"}}, Grammar("ebnf_grammar", "root ::= [0-9]")),
    ],
)
def test_what_the_answer_must_match_becomes_one_grammar_in_the_order_of_the_schema(
    fields: dict[str, object], expected: Grammar | None
) -> None:
    assert asked(chat(**fields), 1).grammar == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs"),
        ({"structured_outputs": {"json": 5}}, "structured_outputs.json"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"response_format": NAMED, "structured_outputs": {"regex": "a"}}, "structured_outputs"),
    ],
)
def test_an_unclear_shape_of_the_answer_is_refused_by_name(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(chat(**fields), 1)
    assert caught.value.param == param


def test_a_shape_says_where_an_answer_ends_whatever_engine_makes_it() -> None:
    with pytest.raises(InvalidRequest, match="response_format says where") as caught:
        asked(chat(response_format={"type": "json_object"}, ignore_eos=True), 1)
    assert caught.value.param == "ignore_eos"


def test_penalties_reach_the_engine_as_they_are() -> None:
    params = asked(chat(presence_penalty=1, frequency_penalty=-0.5, repetition_penalty=1.2), 1)
    assert (params.presence_penalty, params.frequency_penalty, params.repetition_penalty) == (1, -0.5, 1.2)


def test_a_bias_is_by_token_ids_of_the_vocabulary() -> None:
    assert asked(chat(logit_bias={"5": -100, "999": 0.5}), 1).logit_bias == (
        (5, -100.0),
        (999, 0.5),
    )
    for bias in ({"1000": 1}, {"5": 101}, {"-5": 1}, {"x": 1}, {"": 1}, {"5": None}, {"9" * 30: 1}, {"٣": 1}):
        with pytest.raises(InvalidRequest) as caught:
            asked(chat(logit_bias=bias), 1)
        assert (caught.value.param or "").startswith("logit_bias")
        assert "[key]" not in str(caught.value)
        assert next(iter(bias)) in str(caught.value)


def test_log_probabilities_are_asked_of_the_engine_as_of_the_api() -> None:
    def reported(query: Query) -> tuple[bool, int]:
        params = asked(query)
        return params.log_probs, params.top_log_probs

    assert reported(chat()) == reported(chat(logprobs=False)) == reported(chat(top_logprobs=0)) == (False, 0)
    assert reported(chat(logprobs=True)) == (True, 0)
    assert reported(chat(logprobs=True, top_logprobs=20)) == (True, 20)
    assert reported(completion()) == (False, 0)
    assert reported(completion(logprobs=0)) == (True, 0)
    assert reported(completion(logprobs=5)) == (True, 5)


def test_min_tokens_is_at_most_what_the_answer_may_have() -> None:
    assert asked(chat(min_tokens=5, max_tokens=5), 1).min_tokens == 5
    for least in ({"min_tokens": 6, "max_tokens": 5}, {"min_tokens": 101}):
        with pytest.raises(InvalidRequest, match="the answer has") as caught:
            asked(chat(**least), 28)
        assert caught.value.param == "min_tokens"


@given(st.integers(-(2**63), 2**64 - 1))
def test_every_64_bit_seed_reaches_the_engine_unsigned(seed: int) -> None:
    params = asked(chat(seed=seed), 1)
    assert params.seed is not None
    assert 0 <= params.seed < 2**64
    assert (params.seed - seed) % 2**64 == 0


def test_top_k_off_has_two_names_and_is_also_whatever_keeps_the_whole_vocabulary() -> None:
    assert asked(chat(top_k=-1), 1).top_k == 0
    assert asked(chat(top_k=0), 1).top_k == 0
    assert asked(chat(top_k=10**12), 1).top_k == 0
    assert asked(chat(top_k=1000), 1).top_k == 0
    assert asked(chat(top_k=999), 1).top_k == 999


def test_stop_strings_of_the_recipe_count_beside_the_requests() -> None:
    recipe = manifest(stop=("<|end|>", "a"))
    assert stop_strings(chat(stop="a"), recipe) == ("a", "<|end|>")
    assert stop_strings(chat(stop=["b", "c"]), recipe) == ("b", "c", "<|end|>", "a")
    assert stop_strings(chat(), manifest()) == ()


def test_the_recipes_system_prompt_is_used_when_the_conversation_brings_none() -> None:
    assert rendered("Be brief.")[0] == {"role": "system", "content": "Be brief."}
    for role in ("system", "developer"):
        own = [{"role": role, "content": "Be long."}, *MESSAGES]
        assert rendered("Be brief.", messages=own)[0] == {"role": "system", "content": "Be long."}


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


def test_one_request_has_so_many_answers_at_most() -> None:
    completion(prompt=["a"] * 128)
    completion(prompt=["a"] * 64, n=2)
    for fields in ({"prompt": ["a"] * 65, "n": 2}, {"prompt": ["a", "b"], "best_of": 65}):
        with pytest.raises(InvalidRequest, match="128 answers at most") as caught:
            completion(**fields)
        assert caught.value.param == "prompt"


def test_nothing_is_known_of_a_prompts_tokens_and_no_gap_is_filled() -> None:
    completion(echo=True, suffix="")
    with pytest.raises(NotOffered) as caught:
        completion(echo=True, logprobs=0)
    assert caught.value.param == "echo"
    with pytest.raises(NotOffered, match="fill in no gap") as caught:
        completion(suffix="}")
    assert caught.value.param == "suffix"


def test_a_token_id_past_the_vocabulary_is_named() -> None:
    check_ids([0, 999], manifest(), "prompt")
    with pytest.raises(InvalidRequest, match=r"token id 1000, but .* ends at 999") as caught:
        check_ids([5, 1000], manifest(), "prompt[1]")
    assert caught.value.param == "prompt[1]"


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(completion(prompt=""), 0, "prompt[3]")
    assert caught.value.param == "prompt[3]"


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


def test_every_error_of_the_gateway_has_one_row_in_the_table() -> None:

    for module in (contract_errors, gateway_errors):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, contract_errors.SlipwayError):
                assert 400 <= http_error(kind("x")).status <= 504


def model(name: str, backend: object = None) -> Model:
    named = manifest().model_copy(update={"name": name})
    prompter = Prompter(
        named,
        cast(Tokenizer, None),
        cast(ChatTemplate, None),
        TemplateFeatures.read("", None),
        cast(SpecialTokenEscaper, None),
    )
    return Model(prompter, cast(Backend, backend), EngineQueue(name, 1, 0))


class Probed:
    def __init__(self, why_not: str | None) -> None:
        self.why_not = why_not

    async def probe(self) -> None:
        if self.why_not is not None:
            raise ModelUnavailable(self.why_not)


async def test_a_server_none_of_whose_models_answers_says_why_of_each() -> None:
    away = [model("a", Probed("a is not loaded.")), model("b", Probed("b starts again."))]
    with pytest.raises(ModelUnavailable, match=r"^a is not loaded\. b starts again\.$"):
        await Models(away).check()
    await Models([*away, model("c", Probed(None))]).check()


async def test_where_one_model_is_served_it_need_not_be_named() -> None:
    assert (await Models([model("a")]).find(None)).name == "a"
    with pytest.raises(InvalidRequest, match="a, b") as caught:
        await Models([model("a"), model("b")]).find(None)
    assert caught.value.param == "model"
    two = Models([model("a"), model("b")])
    only_b = Caller("one", frozenset({"b", "c"}))
    assert (await two.find(None, only_b)).name == "b"
    with pytest.raises(ModelForbidden):
        await two.find("a", only_b)
    with pytest.raises(ModelNotFound, match="served models: b") as unknown:
        await two.find("c", only_b)
    assert "a" not in str(unknown.value).rpartition(":")[2]
