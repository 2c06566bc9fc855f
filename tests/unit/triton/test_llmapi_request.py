from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.contract.errors import ContextLengthExceeded, InvalidRequest
from slipway.contract.recipe import Limits
from slipway.text.tokenizer import Tokenizer
from slipway.triton import llmapi_interface
from slipway.triton.stages.llmapi_answer import TextAnswer
from slipway.triton.stages.llmapi_request import REFUSED, TextRequest, parse

LIMITS = Limits(max_batch_size=4, max_input_len=40, max_seq_len=64)
ENDS = (2, 7)
HONOURED = {
    "text_input",
    "streaming",
    "sampling_param_temperature",
    "sampling_param_top_k",
    "sampling_param_top_p",
    "sampling_param_max_tokens",
    "sampling_param_stop",
    "return_finish_reason",
    "return_stop_reason",
    "stop",
}


def asked(tokenizer: Tokenizer, text: str = "Say hello", **inputs: Any) -> TextRequest:
    tensors = {"text_input": np.array([text.encode()], object)}
    tensors |= {name: np.array([value]) for name, value in inputs.items()}
    return parse(tensors, tokenizer, LIMITS)


def request(*stop: str, streaming: bool = True) -> TextRequest:
    return TextRequest([1], {}, stop, streaming, finish_reason=True)


def test_every_input_of_the_model_is_honoured_or_refused() -> None:
    names = [tensor.name for tensor in llmapi_interface.INPUTS]
    assert sorted(names) == sorted([*HONOURED, *REFUSED])


def test_stop_tokens_are_read_as_ids(tokenizer: Tokenizer) -> None:
    tensors = {"text_input": np.array([b"Hi"], object), "sampling_param_stop_token_ids": np.array([5, 6])}
    assert parse(tensors, tokenizer, LIMITS).stop_token_ids == (5, 6)


def test_only_what_is_given_reaches_llm(tokenizer: Tokenizer) -> None:
    assert asked(tokenizer).sampling == {}, "greedy, as upstream"
    sampled = asked(tokenizer, sampling_param_temperature=0.5, sampling_param_top_k=3)
    assert sampled.sampling == {"temperature": 0.5, "top_k": 3}
    assert sampled.prompt_token_ids == tokenizer.encode("Say hello")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sampling_param_frequency_penalty", 0.5),
        ("sampling_param_presence_penalty", -0.5),
        ("sampling_param_seed", 0),
        ("sampling_param_best_of", 2),
        ("sampling_param_exclude_input_from_output", False),
        ("sampling_param_return_perf_metrics", True),
        ("return_cumulative_logprob", True),
        ("sampling_param_temperature", -1.0),
        ("sampling_param_top_k", -1),
        ("sampling_param_top_p", 1.5),
        ("sampling_param_max_tokens", 0),
    ],
)
def test_what_it_cannot_do_is_refused_with_name_and_value(
    tokenizer: Tokenizer, name: str, value: Any
) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} is {value}"):
        asked(tokenizer, **{name: value})


def test_values_that_ask_for_nothing_are_taken(tokenizer: Tokenizer) -> None:
    nothing = {
        "sampling_param_frequency_penalty": 0.0,
        "sampling_param_best_of": 1,
        "sampling_param_exclude_input_from_output": True,
        "return_cumulative_logprob": False,
    }
    assert asked(tokenizer, **nothing).sampling == {}


def test_what_does_not_fit_is_refused_with_both_lengths(tokenizer: Tokenizer) -> None:
    with pytest.raises(ContextLengthExceeded, match="takes 40"):
        asked(tokenizer, "word " * 60)
    with pytest.raises(ContextLengthExceeded, match=r"max_tokens is 63, .* leave 62 of 64"):
        asked(tokenizer, "Say hello", sampling_param_max_tokens=63)
    with pytest.raises(InvalidRequest, match="text_input is empty"):
        asked(tokenizer, "")


@given(text=st.text(max_size=40), pieces=st.lists(st.integers(1, 5)))
def test_every_response_has_the_whole_text_so_far_in_whole_characters(
    tokenizer: Tokenizer, text: str, pieces: list[int]
) -> None:
    ids = [token for token in tokenizer.encode(text) if token not in ENDS]
    answer, read, so_far = TextAnswer(request(), tokenizer, ENDS), 0, ""
    for size in [*pieces, len(ids) + 1]:
        read += size
        final = read >= len(ids)
        outputs = answer.add(ids[:read], "length" if final else None)
        assert outputs is not None
        said = outputs["text_output"][0].decode()
        assert said.startswith(so_far)
        assert outputs["num_output_tokens"].tolist() == [len(ids[:read])]
        assert outputs["finish_reason"][0] == (b"length" if final else b"None")
        so_far = said
        if final:
            break
    assert so_far == tokenizer.decode(ids)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("said", ["stop", "length"])
def test_an_end_of_sequence_has_no_text_is_not_counted_and_is_a_stop(
    tokenizer: Tokenizer, end: int, said: str
) -> None:
    ids = tokenizer.encode("Hello there")
    outputs = TextAnswer(request(), tokenizer, ENDS).add([*ids, end], said)
    assert outputs is not None
    assert outputs["text_output"][0] == b"Hello there"
    assert outputs["num_output_tokens"].tolist() == [len(ids)]
    assert outputs["finish_reason"][0] == b"stop"


def test_a_stop_string_ends_an_answer_inside_of_a_token(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("The capital of France")
    answer = TextAnswer(request("apit", streaming=False), tokenizer, ENDS)
    assert not answer.add(ids[:1], None), "one response, at the end"
    outputs = answer.add(ids, None)
    assert outputs is not None
    assert (outputs["text_output"][0], answer.finish_reason) == (b"The c", "stop")


@pytest.mark.parametrize(("left_in", "said"), [(False, "stop"), (True, "length")])
def test_a_stop_token_ends_an_answer_and_is_named(tokenizer: Tokenizer, left_in: bool, said: str) -> None:
    *ids, stop = tokenizer.encode("The capital of")
    asked_for = TextRequest([1], {}, (), True, True, stop_token_ids=(stop,), stop_reason=True)
    answer = TextAnswer(asked_for, tokenizer, ENDS)
    assert answer.add(ids, None)["stop_reason"][0] == b"None"
    outputs = answer.add([*ids, stop] if left_in else ids, said, None if left_in else stop)
    assert outputs["text_output"][0] == b"The capital"
    assert outputs["num_output_tokens"].tolist() == [len(ids)]
    assert (outputs["finish_reason"][0], outputs["stop_reason"][0]) == (b"stop", str(stop).encode())


def test_text_that_could_have_become_a_stop_string_is_there_at_the_end(tokenizer: Tokenizer) -> None:
    answer = TextAnswer(request("capitalism"), tokenizer, ENDS)
    outputs = answer.add(tokenizer.encode("The capital"), "length")
    assert outputs is not None
    assert outputs["text_output"][0] == b"The capital"
