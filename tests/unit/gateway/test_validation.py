"""Queries checked against what an engine can do."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.queries import MESSAGES, asked, chat, completion, manifest, refused, rendered

from slipway.contract.errors import ContextLengthExceeded, InvalidRequest
from slipway.contract.generation import Grammar
from slipway.gateway.errors import (
    NotOffered,
)
from slipway.gateway.query import Query
from slipway.gateway.shapes.error import error_body
from slipway.gateway.validation import check_ids, check_prompt_logprobs, check_tokens, sampling, stop_strings


def test_a_nucleus_of_nothing_is_the_likeliest_token() -> None:
    params = asked(chat(top_p=0, temperature=2), 28)
    assert (params.top_p, params.top_k, params.temperature) == (1.0, 1, 2.0)
    assert asked(chat(top_p=0, top_k=50), 28).top_k == 1


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


@pytest.mark.parametrize(
    ("query", "tokens", "field"),
    [
        (completion(n=3), [40, 40, 20], None),
        (completion(n=3), [40, 40, 21], "n"),
        (completion(), [5000], None),
        (completion(logprobs=0), [50], None),
        (completion(logprobs=0), [51], "logprobs"),
        (completion(logprobs=4), [16], None),
        (completion(logprobs=4), [17], "logprobs"),
        (completion(logprobs=3, n=2), [10, 10], None),
        (completion(logprobs=4, n=2), [10, 10], "n"),
        (chat(logprobs=True, top_logprobs=20), [5], "top_logprobs"),
        (completion(best_of=2, logprobs=4), [10, 10], "best_of"),
    ],
)
def test_a_token_counts_once_more_for_each_log_probability(
    query: Query, tokens: list[int], field: str | None
) -> None:
    if field is None:
        check_tokens(query, tokens, highest=100)
        return
    with pytest.raises(InvalidRequest, match="the most is 100") as caught:
        check_tokens(query, tokens, highest=100)
    assert caught.value.param == field


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


def test_an_answer_of_no_given_length_has_the_models_default_and_never_less_than_min_tokens() -> None:
    def length(query: Query, prompt_tokens: int) -> int:
        short = manifest(max_tokens=20)
        return sampling(query, prompt_tokens, short, "messages").max_tokens

    assert length(chat(), 1) == length(completion(), 1) == 20
    assert length(chat(), 100) == 20
    assert length(chat(max_tokens=28), 100) == 28, "a client may fill the context"
    assert length(chat(min_tokens=25), 100) == 25
    with pytest.raises(InvalidRequest, match="min_tokens is 29, but the answer has 28 at most"):
        length(chat(min_tokens=29), 100)


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


def test_the_answers_of_one_request_are_bounded() -> None:
    completion(prompt=["a"] * 128)
    completion(prompt=["a"] * 64, n=2)
    for fields in ({"prompt": ["a"] * 65, "n": 2}, {"prompt": ["a", "b"], "best_of": 65}):
        with pytest.raises(InvalidRequest, match="128 answers at most") as caught:
            completion(**fields)
        assert caught.value.param == "prompt"


def test_no_gap_is_filled() -> None:
    completion(echo=True, suffix="")
    with pytest.raises(NotOffered, match="fill in no gap") as caught:
        completion(suffix="}")
    assert caught.value.param == "suffix"


def test_an_echo_with_logprobs_asks_for_those_of_the_prompt_and_of_every_token_after_it() -> None:
    asks = asked(completion(echo=True, logprobs=2))
    assert (asks.prompt_log_probs, asks.top_log_probs, asks.report_end) == (2, 2, True)
    assert asked(completion(echo=True, logprobs=2, prompt_logprobs=5)).prompt_log_probs == 5
    for fields in ({"echo": True}, {"logprobs": 2}, {"echo": False, "logprobs": 2}):
        asks = asked(completion(**fields))
        assert (asks.prompt_log_probs, asks.report_end) == (None, False)


def test_the_log_probabilities_of_one_reply_are_bounded() -> None:
    check_prompt_logprobs(completion(prompt_logprobs=20), 47_000)
    check_prompt_logprobs(completion(), 10_000_000)
    for query, field in (
        (completion(prompt_logprobs=20, n=2), "prompt_logprobs"),
        (completion(echo=True, logprobs=20, n=2), "echo"),
    ):
        with pytest.raises(InvalidRequest, match="the most is 1000000") as caught:
            check_prompt_logprobs(query, 47_000)
        assert caught.value.param == field


def test_prompt_logprobs_are_asked_for_by_their_number_and_not_in_a_stream() -> None:
    assert asked(chat(prompt_logprobs=0)).prompt_log_probs == 0
    asks = asked(completion(prompt_logprobs=3, max_tokens=0))
    assert (asks.prompt_log_probs, asks.max_tokens, asks.report_end) == (3, 0, False)
    with pytest.raises(InvalidRequest, match="stream is true") as caught:
        completion(prompt_logprobs=0, stream=True)
    assert caught.value.param == "prompt_logprobs"
    completion(echo=True, logprobs=0, stream=True)


def test_a_token_id_past_the_vocabulary_is_named() -> None:
    check_ids([0, 999], manifest(), "prompt")
    with pytest.raises(InvalidRequest, match=r"token id 1000, but .* ends at 999") as caught:
        check_ids([5, 1000], manifest(), "prompt[1]")
    assert caught.value.param == "prompt[1]"


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        asked(completion(prompt=""), 0, "prompt[3]")
    assert caught.value.param == "prompt[3]"
