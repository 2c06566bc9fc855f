from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.contract.engine_tensors import pack_words, unpack_words
from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Delta, Grammar, PromptLogProbs, TopLogProbs
from slipway.triton import interface
from slipway.triton.stages.request import REFUSED, WITHOUT_EFFECT, EngineRequest, parse
from slipway.triton.stages.token_answer import TokenAnswer

OWN_ENDS = (2, 7)
HONOURED = {
    "input_ids",
    "input_lengths",
    "request_output_len",
    "end_id",
    "stop_words_list",
    "bad_words_list",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "embedding_bias",
    "min_p",
    "num_top_log_probs",
    "num_prompt_log_probs",
    "return_end_token",
    "min_tokens",
    "temperature",
    "runtime_top_k",
    "runtime_top_p",
    "seed",
    "return_log_probs",
    "guided_decoding_guide_type",
    "guided_decoding_guide",
    "return_num_input_tokens",
    "return_num_output_tokens",
    "return_perf_metrics",
    "exclude_input_in_output",
    "stop",
    "streaming",
}


def asked(**given: Any) -> EngineRequest:
    tensors = {
        "input_ids": np.array([[5, 6, 7]], np.int32),
        "input_lengths": np.array([3], np.int32),
        "request_output_len": np.array([4], np.int32),
    }
    tensors |= {name: np.asarray([value]) for name, value in given.items()}
    return parse(tensors, OWN_ENDS)


def test_every_input_of_the_engine_is_honoured_refused_or_without_effect() -> None:
    names = [tensor.name for tensor in (*interface.ENGINE_INPUTS, *interface.ONNX_INPUTS)]
    assert sorted(names) == sorted([*HONOURED, *REFUSED, *WITHOUT_EFFECT])


def test_without_sampling_parameters_the_answer_is_greedy_as_upstream() -> None:
    assert asked(temperature=0.7).sampling.temperature == 0
    assert asked(runtime_top_k=1, runtime_top_p=0.9).sampling.temperature == 0
    assert asked(runtime_top_p=0.0).sampling.temperature == 0


def test_top_k_or_top_p_switch_sampling_on() -> None:
    by_k = asked(runtime_top_k=5).sampling
    assert (by_k.top_k, by_k.top_p, by_k.temperature) == (5, 1.0, 1.0)
    by_p = asked(runtime_top_p=0.5, temperature=0.7).sampling
    assert (by_p.top_k, by_p.top_p, by_p.temperature) == (0, 0.5, 0.7)


def test_an_end_id_of_the_engine_stands_for_all_of_its_own() -> None:
    assert asked(end_id=2).sampling.eos_token_ids is None
    assert asked().sampling.eos_token_ids is None
    assert asked(end_id=9).sampling.eos_token_ids == (9,)
    assert asked(end_id=-1).sampling.ignore_eos


def test_penalties_and_the_least_length_are_passed_on_as_they_are() -> None:
    penalised = asked(repetition_penalty=1.5, presence_penalty=0.5, frequency_penalty=-0.25).sampling
    assert penalised.repetition_penalty == 1.5
    assert (penalised.presence_penalty, penalised.frequency_penalty) == (0.5, -0.25)
    assert asked(min_tokens=3).sampling.min_tokens == 3
    assert asked(min_tokens=-1).sampling.min_tokens == 0


def test_a_bias_names_the_tokens_that_it_changes() -> None:
    assert asked(embedding_bias=np.array([0, -2.5, 0, 100], np.float32)).sampling.logit_bias == (
        (1, -2.5),
        (3, 100.0),
    )


def test_bad_words_are_token_sequences_as_stop_words_are() -> None:
    assert asked(bad_words_list=[[4, 5, 6], [1, 3, -1]]).sampling.bad_token_ids == ((4,), (5, 6))


@pytest.mark.parametrize(
    ("kind", "guide", "expected"),
    [
        (b"json", b"", Grammar("json_schema", "{}")),
        (b"json_schema", b'{"type": "integer"}', Grammar("json_schema", '{"type": "integer"}')),
        (b"regex", b"[0-9]+", Grammar("regex", "[0-9]+")),
        (b"ebnf_grammar", b"root ::= [0-9]", Grammar("ebnf_grammar", "root ::= [0-9]")),
        (b"", b"", None),
    ],
)
def test_a_guide_is_a_grammar_with_upstreams_types(
    kind: bytes, guide: bytes, expected: Grammar | None
) -> None:
    given = asked(guided_decoding_guide_type=[kind], guided_decoding_guide=[guide])
    assert given.sampling.grammar == expected


def test_a_guide_type_without_its_guide_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="guided_decoding_guide is missing"):
        asked(guided_decoding_guide_type=[b"regex"])


def test_a_prompt_is_cut_to_its_stated_length() -> None:
    assert asked(input_lengths=2).prompt_token_ids == (5, 6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beam_width", 2),
        ("num_return_sequences", 3),
        ("return_context_logits", True),
        ("return_generation_logits", True),
        ("draft_input_ids", [3]),
        ("prompt_embedding_table", [[0.5]]),
        ("lora_task_id", 1),
        ("guided_decoding_guide_type", b"xml"),
        ("runtime_top_p", 1.5),
        ("runtime_top_k", -1),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("request_output_len", -1),
        ("input_lengths", 4),
        ("input_lengths", 0),
    ],
)
def test_what_the_engine_cannot_do_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(**{name: value})
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beam_width", 1),
        ("repetition_penalty", 1.0),
        ("frequency_penalty", 0.0),
        ("min_tokens", 0),
        ("bad_words_list", np.zeros((2, 0), np.int32)),
        ("embedding_bias", np.zeros(0, np.float32)),
        ("embedding_bias", np.zeros(8, np.float32)),
        ("min_p", 0.0),
        ("return_context_logits", False),
        ("len_penalty", 2.0),
    ],
)
def test_neutral_values_pass(name: str, value: Any) -> None:
    assert asked(**{name: value}) == asked()


def test_two_prompts_in_one_request_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="one prompt per request"):
        parse({"input_ids": np.zeros((2, 3), np.int32)}, OWN_ENDS)


@given(st.lists(st.lists(st.integers(0, 50000), min_size=1, max_size=6), max_size=6))
def test_words_survive_the_tensor(some: list[list[int]]) -> None:
    packed = pack_words(some)
    assert packed.dtype == np.int32
    assert unpack_words(packed, "stop_words_list") == tuple(tuple(word) for word in some)


@pytest.mark.parametrize("ends", [[2, 1], [0, 1], [1, 3], [-2, -1]])
def test_word_ends_that_make_no_sense_are_refused(ends: list[int]) -> None:
    with pytest.raises(InvalidRequest, match="stop_words_list"):
        unpack_words(np.array([[[8, 9], ends]], np.int32), "stop_words_list")


def responses_of(answer: TokenAnswer) -> list[dict[str, Any]]:
    deltas = [
        Delta(token_ids=(10,), token_count=1, log_probs=(-0.5,)),
        Delta(token_ids=(11, 12), token_count=2, log_probs=(-1.0, -0.25), finish_reason="length"),
    ]
    made = [answer.outputs(delta) for delta in deltas]
    return [{name: value.tolist() for name, value in outputs.items()} for outputs in made if outputs]


def test_a_stream_gets_each_delta_and_its_last_response_has_the_time_of_the_last_token() -> None:
    asks = asked(streaming=True, return_num_output_tokens=True, return_perf_metrics=True)
    responses = responses_of(TokenAnswer(7, asks))
    assert [response["output_ids"] for response in responses] == [[[[10]]], [[[11, 12]]]]
    assert [response["num_output_tokens"] for response in responses] == [[[1]], [[2]]]
    assert [response["arrival_time_ns"] for response in responses] == [[[7]], [[7]]]
    [early], [late] = (response["last_token_time_ns"][0] for response in responses)
    assert early == 0
    assert late > responses[1]["first_token_time_ns"][0][0] == responses[0]["first_token_time_ns"][0][0] > 0


def test_a_whole_answer_begins_with_the_prompt_unless_told_otherwise() -> None:
    [whole] = responses_of(TokenAnswer(7, asked()))
    assert whole["output_ids"] == [[[5, 6, 7, 10, 11, 12]]]
    assert "arrival_time_ns" not in whole, "the request did not ask for it"
    [bare] = responses_of(TokenAnswer(7, asked(exclude_input_in_output=True)))
    assert bare["output_ids"] == [[[10, 11, 12]]]


def test_log_probabilities_are_per_response_and_add_up() -> None:
    responses = responses_of(TokenAnswer(7, asked(streaming=True, return_log_probs=True)))
    assert [response["output_log_probs"] for response in responses] == [[[[-0.5]]], [[[-1.0, -0.25]]]]
    assert [response["cum_log_probs"] for response in responses] == [[[-0.5]], [[-1.75]]]
    assert "output_log_probs" not in responses_of(TokenAnswer(7, asked(streaming=True)))[0]


def test_the_likeliest_tokens_are_padded_where_fewer_are_possible() -> None:
    answer = TokenAnswer(7, asked(streaming=True, return_log_probs=True, num_top_log_probs=2))
    tops = (TopLogProbs((10, 3), (-0.25, -2.0)), TopLogProbs((11,), (0.0,)))
    outputs = answer.outputs(
        Delta(token_ids=(10, 11), token_count=2, log_probs=(-0.25, 0.0), top_log_probs=tops)
    )
    assert outputs is not None
    assert outputs["top_log_prob_ids"].tolist() == [[[[10, 3], [11, -1]]]]
    assert outputs["top_log_probs"].tolist() == [[[[-0.25, -2.0], [0.0, 0.0]]]]
    end = answer.outputs(Delta(finish_reason="stop"))
    assert end is not None
    assert end["top_log_prob_ids"].shape == (1, 1, 0, 2)


def test_what_was_cached_comes_first_and_why_it_ended_last() -> None:
    deltas = [Delta(token_ids=(10,), token_count=1, cached_tokens=2), Delta(finish_reason="stop")]
    streamed = TokenAnswer(7, asked(streaming=True))
    responses = [streamed.outputs(delta) for delta in deltas]
    assert [{"cached_tokens", "finish_reason"} & set(response or ()) for response in responses] == [
        {"cached_tokens"},
        {"finish_reason"},
    ]
    whole = TokenAnswer(7, asked())
    [none, last] = [whole.outputs(delta) for delta in deltas]
    assert none is None
    assert last is not None
    assert last["cached_tokens"].tolist() == [[2]]
    assert last["finish_reason"].item() == b"stop"


def test_the_log_probabilities_of_a_prompt_are_in_one_response() -> None:
    tops = (TopLogProbs((6, 3), (-0.25, -2.0)), TopLogProbs((7,), (0.0,)))
    prompt = PromptLogProbs((-0.25, 0.0), (1, 1), tops)
    deltas = [Delta(token_ids=(10,), token_count=1, prompt=prompt), Delta(finish_reason="stop")]
    for streaming, first in ((True, [True, False]), (False, [False, True])):
        answer = TokenAnswer(7, asked(streaming=streaming, num_prompt_log_probs=2))
        responses = [answer.outputs(delta) or {} for delta in deltas]
        assert ["prompt_log_probs" in response for response in responses] == first
        told = responses[first.index(True)]
        assert told["prompt_log_probs"].tolist() == [[-0.25, 0.0]]
        assert told["prompt_ranks"].tolist() == [[1, 1]]
        assert told["top_prompt_log_prob_ids"].tolist() == [[[6, 3], [7, -1]]]
        assert told["top_prompt_log_probs"].tolist() == [[[-0.25, -2.0], [0.0, 0.0]]]


def test_a_prompt_of_one_token_has_no_log_probabilities() -> None:
    answer = TokenAnswer(7, asked(streaming=True, num_prompt_log_probs=2, request_output_len=0))
    outputs = answer.outputs(Delta(finish_reason="length", prompt=PromptLogProbs((), ())))
    assert outputs is not None
    assert not {"prompt_log_probs", "top_prompt_log_prob_ids"} & outputs.keys()
