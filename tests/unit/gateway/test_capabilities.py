import json
from typing import Any

import pytest
from support import manifests

from slipway.contract.errors import InvalidRequest
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Limits
from slipway.contract.target import TARGETS
from slipway.gateway.capabilities import ASKED, check_capabilities
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.completions.schema import CompletionRequest
from slipway.gateway.errors import http_error
from slipway.gateway.query import Query
from slipway.gateway.shapes.parsing import parse

LLMAPI, TRTLLM = "tensorrt-llm-llmapi", "tensorrt-llm"
TOOL = {"type": "function", "function": {"name": "f"}}
# What asks for something, by field; of chats where plain completions have no such field.
ASKS: dict[str, Any] = {
    "seed": 7,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "repetition_penalty": 1.1,
    "min_p": 0.1,
    "logit_bias": {"5": 1},
    "min_tokens": 3,
    "ignore_eos": True,
    "logprobs": 0,
    "prompt_logprobs": 0,
    "max_tokens": 0,
    "response_format": {"type": "json_object"},
    "structured_outputs": {"regex": "a"},
    "best_of": 3,
    "prompt": [1, 2],
    "bad_words": ["a"],
    "truncate_prompt_tokens": 5,
    "add_special_tokens": False,
    "tool_choice": "required",
}
NOTHING: dict[str, Any] = {
    "seed": None,
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1,
    "min_p": 0,
    "logit_bias": {},
    "min_tokens": 0,
    "ignore_eos": False,
    "logprobs": None,
    "prompt_logprobs": None,
    "max_tokens": 1,
    "response_format": {"type": "text"},
    "best_of": 1,
    "prompt": ["Hi", "Ho"],
    "bad_words": [],
    "truncate_prompt_tokens": None,
    "add_special_tokens": True,
    "tool_choice": "auto",
    "top_logprobs": 0,
}


def engine(target: str, ends: tuple[int, ...] = (2,)) -> Manifest:
    limits = Limits(max_batch_size=4, max_input_len=99, max_seq_len=100)
    made = manifests.manifest(limits, vocab_size=1000)
    return made.model_copy(update={"target": TARGETS[target], "eos_token_ids": ends})


def query(field: str, value: object, **fields: object) -> Query:
    asked = {"model": "m", field: value, **fields}
    if field in CompletionRequest.model_fields:
        return parse(json.dumps({"prompt": "Hi", **asked}).encode(), CompletionRequest).query()
    asked = {"messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL], **asked}
    return parse(json.dumps(asked).encode(), ChatCompletionRequest).query()


def test_every_field_that_is_refused_is_one_of_a_query() -> None:
    for target in TARGETS.values():
        assert {*target.refuses, *target.limits, *target.refuses_with_several_ends} <= ASKED.keys()
    # top_logprobs needs logprobs, which is refused first; structured_outputs is another response_format.
    assert TARGETS[LLMAPI].refuses.keys() == ASKS.keys() - {"structured_outputs"} | {"top_logprobs"}


@pytest.mark.parametrize("field", ASKS)
def test_what_llmapi_cannot_do_is_a_400_with_field_and_way_out(field: str) -> None:
    asked = query(field, ASKS[field])
    check_capabilities(asked, engine("onnx-cpu"))
    with pytest.raises(InvalidRequest, match=rf"^{field} is .*; ") as caught:
        check_capabilities(asked, engine(LLMAPI))
    assert caught.value.param == field
    assert http_error(caught.value).status == 400


@pytest.mark.parametrize("field", NOTHING)
def test_a_value_that_asks_for_nothing_is_taken(field: str) -> None:
    check_capabilities(query(field, NOTHING[field]), engine(LLMAPI))


def test_a_field_that_the_rest_of_the_body_leaves_no_effect_is_taken() -> None:
    check_capabilities(query("seed", 7, temperature=0), engine(LLMAPI))
    check_capabilities(query("best_of", 3, n=3), engine(LLMAPI))


def test_what_the_engine_model_cannot_do_is_refused_there_with_the_way_out_and_nowhere_else() -> None:
    several = (2, 3)
    for asked, param in (
        (query("min_p", 0.1), "min_p"),
        (query("top_logprobs", 1, logprobs=True), "top_logprobs"),
        (query("logprobs", 1), "logprobs"),
        (query("min_tokens", 5), "min_tokens"),
    ):
        check_capabilities(asked, engine("onnx-cpu", several))
        with pytest.raises(InvalidRequest, match=f"^{param} is .*; ") as caught:
            check_capabilities(asked, engine(TRTLLM, several))
        assert caught.value.param == param
    for asked in (query("min_p", 0), query("top_logprobs", 0, logprobs=True), query("logprobs", 0)):
        check_capabilities(asked, engine(TRTLLM, several))
    check_capabilities(query("min_tokens", 5), engine(TRTLLM))
    with pytest.raises(InvalidRequest, match="min_tokens is 5, but 2 tokens end an answer"):
        check_capabilities(query("min_tokens", 5), engine(TRTLLM), stop_tokens=1)


@pytest.mark.parametrize(
    ("target", "top_k", "taken"),
    [
        (TRTLLM, 1024, True),
        (TRTLLM, 1025, False),
        (TRTLLM, 50_000, True),
        (TRTLLM, -1, True),
        ("onnx-cpu", 1025, True),
    ],
)
def test_a_top_k_that_would_be_clipped_is_refused(target: str, top_k: int, taken: bool) -> None:
    asked, served = query("top_k", top_k), engine(target).model_copy(update={"vocab_size": 50_000})
    if taken:
        check_capabilities(asked, served)
        return
    with pytest.raises(InvalidRequest, match="1024") as caught:
        check_capabilities(asked, served)
    assert caught.value.param == "top_k"
