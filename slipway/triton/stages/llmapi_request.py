"""A request to the llmapi stage, parsed from its tensors.

Meanings and defaults are those of TensorRT-LLM's llmapi model (triton_backend/all_models/llmapi) and of its
SamplingParams. Parameters that its PyTorch backend accepts and ignores are refused here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.contract.errors import ContextLengthExceeded, InvalidRequest
from slipway.contract.recipe import Limits
from slipway.text.tokenizer import Tokenizer
from slipway.triton.stages.request import Array, decoded, scalar

# Upstream's SamplingParams.
DEFAULT_MAX_TOKENS = 32
_STOP_IDS = "sampling_param_stop_token_ids"
# Which values each of these parameters may have.
_SAMPLING: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "temperature": (lambda value: 0 <= value < float("inf"), "0 (greedy) or above"),
    "top_k": (lambda value: value >= 0, "0 (all tokens) or above"),
    "top_p": (lambda value: 0 <= value <= 1, "between 0 and 1"),
    "max_tokens": (lambda value: value >= 1, "1 or above"),
}


@dataclass(frozen=True, slots=True)
class TextRequest:
    """One prompt for `tensorrt_llm.LLM`, and how to send its answer.

    sampling: arguments of its SamplingParams. stop: strings that end the answer and are not part of it.
    stop_token_ids: tokens that do the same.
    streaming: one response per step, else one in all. finish_reason, stop_reason: whether responses carry it.
    """

    prompt_token_ids: list[int]
    sampling: dict[str, Any]
    stop: tuple[str, ...]
    streaming: bool
    finish_reason: bool
    stop_token_ids: tuple[int, ...] = ()
    stop_reason: bool = False


_NO_PENALTIES = "TorchSampler of TensorRT-LLM 1.2 ignores it; leave it out"
# Inputs that this stage does not support: whether a value asks for it, and the advice in the error.
REFUSED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "sampling_param_frequency_penalty": (lambda value: value != 0, _NO_PENALTIES),
    "sampling_param_presence_penalty": (lambda value: value != 0, _NO_PENALTIES),
    "sampling_param_seed": (lambda _: True, _NO_PENALTIES),
    "sampling_param_best_of": (
        lambda value: value != 1,
        "send one request for each answer; they run in one batch",
    ),
    "sampling_param_exclude_input_from_output": (
        lambda value: not value,
        "text_output is the answer alone; leave it out",
    ),
    "sampling_param_return_perf_metrics": (bool, "they are not reported; leave it out"),
    "return_cumulative_logprob": (bool, "log-probabilities are not reported; leave it out"),
}


def parse(tensors: Mapping[str, Array], tokenizer: Tokenizer, limits: Limits) -> TextRequest:
    """Read the stage's inputs, which have no batch dimension.

    The engine gets BOS once, whether the prompt begins with it or not. Raises InvalidRequest that names the
    tensor, its value and the values that are allowed.
    """
    for name, (asks, advice) in REFUSED.items():
        value = scalar(tensors, name, None)
        if value is not None and asks(value):
            raise InvalidRequest(f"{name} is {value}: {advice}.", name)
    ids = tokenizer.encode(decoded(scalar(tensors, "text_input", b""), "text_input"))
    if not ids:
        raise InvalidRequest("text_input is empty; send at least one token.", "text_input")
    sampling = _sampling(tensors)
    _check_length(len(ids), sampling.get("max_tokens", DEFAULT_MAX_TOKENS), limits)
    stop = tensors["sampling_param_stop"].ravel().tolist() if "sampling_param_stop" in tensors else []
    return TextRequest(
        prompt_token_ids=ids,
        sampling=sampling,
        stop=tuple(decoded(word, "sampling_param_stop") for word in stop if word),
        streaming=scalar(tensors, "streaming", False),
        finish_reason=scalar(tensors, "return_finish_reason", False),
        stop_token_ids=tuple(tensors[_STOP_IDS].ravel().tolist()) if _STOP_IDS in tensors else (),
        stop_reason=scalar(tensors, "return_stop_reason", False),
    )


def _sampling(tensors: Mapping[str, Array]) -> dict[str, Any]:
    """Only the parameters that are given: without any of them the answer is greedy."""
    given = {name: scalar(tensors, f"sampling_param_{name}", None) for name in _SAMPLING}
    sampling = {name: value for name, value in given.items() if value is not None}
    for name, value in sampling.items():
        fits, allowed = _SAMPLING[name]
        if not fits(value):
            raise InvalidRequest(f"sampling_param_{name} is {value}; it is {allowed}.", name)
    return sampling


def _check_length(prompt: int, answer: int, limits: Limits) -> None:
    if prompt > limits.max_input_len:
        raise ContextLengthExceeded(
            f"text_input has {prompt} tokens, and the engine takes {limits.max_input_len}; shorten it.",
            "text_input",
        )
    if prompt + answer > limits.max_seq_len:
        raise ContextLengthExceeded(
            f"sampling_param_max_tokens is {answer}, but the prompt's {prompt} tokens leave "
            f"{limits.max_seq_len - prompt} of {limits.max_seq_len}; ask for fewer.",
            "sampling_param_max_tokens",
        )
