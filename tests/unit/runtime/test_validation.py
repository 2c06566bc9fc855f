from dataclasses import replace

import pytest
from support.manifests import manifest

from slipway.contract.errors import ContextLengthExceeded, InvalidRequest
from slipway.contract.generation import SamplingParams
from slipway.contract.recipe import Limits
from slipway.runtime.validation import check_request

MANIFEST = manifest(Limits(max_batch_size=2, max_input_len=10, max_seq_len=16), vocab_size=100)
PARAMS = SamplingParams(max_tokens=4)


def test_a_request_that_just_fits_is_taken() -> None:
    check_request(range(10), replace(PARAMS, max_tokens=6), MANIFEST, prompt_logits=True)


def test_a_prompt_over_the_limit_is_refused_with_both_lengths() -> None:
    with pytest.raises(ContextLengthExceeded, match=r"11 tokens.*small.*at most 10"):
        check_request(range(11), PARAMS, MANIFEST, prompt_logits=True)


def test_an_answer_over_the_limit_is_refused_with_the_room_left() -> None:
    with pytest.raises(ContextLengthExceeded, match=r"together 17.*holds 16.*at most 6 tokens"):
        check_request(range(10), replace(PARAMS, max_tokens=7), MANIFEST, prompt_logits=True)


@pytest.mark.parametrize(
    ("prompt", "sampling", "message"),
    [
        ((), PARAMS, "prompt is empty"),
        ((5, 100), PARAMS, r"token id 100.*ends at 99"),
        ((-1,), PARAMS, "token id -1"),
        ((1,), replace(PARAMS, max_tokens=-1), "max_tokens is -1"),
        ((1,), replace(PARAMS, temperature=-0.1), r"temperature is -0\.1"),
        ((1,), replace(PARAMS, temperature=float("nan")), "temperature is nan"),
        ((1,), replace(PARAMS, temperature=1e31), r"temperature is 1e\+31.*to 100"),
        ((1,), replace(PARAMS, top_p=0.0), r"top_p is 0\.0"),
        ((1,), replace(PARAMS, top_p=1.1), r"top_p is 1\.1"),
        ((1,), replace(PARAMS, top_k=-1), "top_k is -1"),
        ((1,), replace(PARAMS, stop_token_ids=((3,), ())), "stop sequence is empty"),
        ((1,), replace(PARAMS, prompt_log_probs=21), "prompt_log_probs is 21.*to 20"),
        ((1,), replace(PARAMS, min_p=1.5), r"min_p is 1\.5"),
        ((1,), replace(PARAMS, min_tokens=-1), "min_tokens is -1"),
        ((1,), replace(PARAMS, min_tokens=5), "min_tokens is 5.*max_tokens, 4"),
        ((1,), replace(PARAMS, repetition_penalty=0.0), r"repetition_penalty is 0\.0"),
        ((1,), replace(PARAMS, repetition_penalty=1e30), "repetition_penalty is 1e"),
        ((1,), replace(PARAMS, presence_penalty=float("nan")), "presence_penalty is nan"),
        ((1,), replace(PARAMS, frequency_penalty=-101.0), "frequency_penalty is -101"),
        ((1,), replace(PARAMS, logit_bias=((100, 1.0),)), "logit_bias names token id 100.*ends at 99"),
        ((1,), replace(PARAMS, logit_bias=((5, 101.0),)), "logit_bias of token id 5 is 101"),
        ((1,), replace(PARAMS, bad_token_ids=((),)), "bad sequence is empty"),
        ((1,), replace(PARAMS, bad_token_ids=((5, -1),)), "bad_words names token id -1"),
        ((1,), replace(PARAMS, eos_token_ids=(100,)), "end_id names token id 100.*ends at 99"),
        ((1,), replace(PARAMS, eos_token_ids=(-5,), min_tokens=2), "end_id names token id -5"),
        ((1,), replace(PARAMS, top_log_probs=21), "top_log_probs is 21"),
    ],
)
def test_what_no_engine_can_do_is_refused_by_name(
    prompt: tuple[int, ...], sampling: SamplingParams, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as refusal:
        check_request(prompt, sampling, MANIFEST, prompt_logits=True)
    assert refusal.value.param in (
        "prompt",
        "stop",
        "bad_words",
        "end_id",
        "top_logprobs",
        "prompt_logprobs",
        *SamplingParams.__slots__,
    )


def test_a_prompt_may_be_read_without_an_answer() -> None:
    check_request(range(10), replace(PARAMS, max_tokens=0), MANIFEST, prompt_logits=True)


def test_an_engine_without_logits_of_prompts_says_which_engines_have_them() -> None:
    check_request((1,), PARAMS, MANIFEST, prompt_logits=False)
    with pytest.raises(InvalidRequest, match="engines for target onnx-cpu do") as refused:
        check_request((1,), replace(PARAMS, prompt_log_probs=0), MANIFEST, prompt_logits=False)
    assert refused.value.param == "prompt_logprobs"
