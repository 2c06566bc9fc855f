"""What the engines of a target cannot do, though the API has a field for it; asked by `prompter`.

A field that would change the answer and has no effect there is refused, never taken in silence.
"""

from collections.abc import Mapping

from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Target
from slipway.gateway.api.body import GenerationBody
from slipway.gateway.api.chat import ChatCompletionRequest
from slipway.gateway.api.completions import CompletionRequest
from slipway.gateway.errors import NotOffered

_NO_SAMPLER = "the sampler of TensorRT-LLM's PyTorch backend (1.2) takes it and does nothing; leave it out"
_NO_TENSOR = "Triton's llmapi model has no tensor for it; leave it out"
_NO_GRAMMARS = "Triton's llmapi model has no tensor for grammars; ask for JSON in the prompt"
_NO_LOG_PROBS = "Triton's llmapi model tells none of a token; leave it out"
# By target and field: why not, and the way out.
REFUSED: Mapping[Target, Mapping[str, str]] = {
    "tensorrt-llm": {
        "min_p": "TensorRT-LLM's engine model has no input for it; use top_p or top_k",
        "top_logprobs": "TensorRT-LLM tells the log-probabilities of the chosen tokens alone; ask for 0",
    },
    "tensorrt-llm-llmapi": {
        "seed": f"{_NO_SAMPLER}, or give temperature 0, which needs none",
        "presence_penalty": _NO_SAMPLER,
        "frequency_penalty": _NO_SAMPLER,
        "repetition_penalty": _NO_TENSOR,
        "min_p": _NO_TENSOR,
        "logit_bias": _NO_TENSOR,
        "min_tokens": _NO_TENSOR,
        "ignore_eos": _NO_TENSOR,
        "logprobs": _NO_LOG_PROBS,
        "top_logprobs": _NO_LOG_PROBS,
        "response_format": _NO_GRAMMARS,
        "structured_outputs": _NO_GRAMMARS,
        "tool_choice": "Triton's llmapi model has no tensor for grammars, which enforce calls; give auto",
        "best_of": "answers are ranked by log-probabilities, which Triton's llmapi model does not give; ask "
        "for all of them with n",
        "prompt": "Triton's llmapi model has no tensor for token ids; send text",
        "add_special_tokens": "Triton's llmapi model has no tensor for it; leave it out",
    },
}

# Whose backends read a prompt as text alone, so that no token of it can be told from its name.
TEXT_ONLY: frozenset[Target] = frozenset({"tensorrt-llm-llmapi"})
# What is refused where the model has several end-of-sequence tokens. TensorRT-LLM knows one; the others end
# an answer as stop words.
WITH_SEVERAL_ENDS: Mapping[Target, Mapping[str, str]] = {
    "tensorrt-llm": {"min_tokens": "TensorRT-LLM can keep back one of them; leave it out"},
}
# The most of a field that is honoured, short of the whole vocabulary: more is clipped (TOP_K_MAX in
# cpp/tensorrt_llm/kernels/samplingTopKKernels.h).
MOST: Mapping[Target, Mapping[str, tuple[int, str]]] = {
    "tensorrt-llm": {
        "top_k": (
            1024,
            "TensorRT-LLM's sampler keeps 1024 tokens at most; ask for those, or for 0, all of them",
        )
    },
}
_LONGEST_SHOWN = 60


def named(field: str, schema: type[GenerationBody]) -> str:
    """What a chat's field is called in this body: plain completions have one field where chats have two."""
    return "logprobs" if field == "top_logprobs" and issubclass(schema, CompletionRequest) else field


def check(body: GenerationBody, manifest: Manifest) -> None:
    """Raise NotOffered, with field, value and way out, where `body` asks for what the engine cannot do."""
    refused = REFUSED.get(manifest.target, {})
    for field, reason in refused.items():
        name = named(field, type(body))
        if _asks(body, name, whole=field == name):
            shown = f"{name} is {_shown(body, name)}, which {manifest.name} cannot do"
            raise NotOffered(f"{shown}: {reason}.", name)
    for field, (most, reason) in MOST.get(manifest.target, {}).items():
        if most < (getattr(body, field) or 0) < manifest.vocab_size:
            raise NotOffered(f"{field} is {getattr(body, field)}: {reason}.", field)
    ends = len(manifest.eos_token_ids)
    for field, reason in WITH_SEVERAL_ENDS.get(manifest.target, {}).items():
        value = getattr(body, field, None)
        if value and ends > 1:
            raise NotOffered(
                f"{field} is {value}, but {manifest.name} has {ends} end-of-sequence tokens: {reason}.", field
            )


def _asks(body: GenerationBody, field: str, whole: bool) -> bool:
    """Whether the field asks for something that changes the answer.

    whole: it is refused as such; else a 0 of it, which asks for what a chat's other field does, is taken.
    """
    value = getattr(body, field, None)
    if value is None:
        return False
    match field:
        case "seed":
            return body.temperature != 0
        case "best_of":
            return body.candidates > (body.n or 1)
        case "repetition_penalty":
            return bool(value != 1)
        case "response_format":
            return bool(value.type != "text")
        case "tool_choice":
            return isinstance(body, ChatCompletionRequest) and body.enforces_calls
        case "prompt":
            assert isinstance(body, CompletionRequest)
            return not all(isinstance(prompt, str) for prompt in body.prompts)
        case "add_special_tokens":
            return value is False
        case "logprobs" if whole:
            return body.likeliest is not None
    return bool(value)


def _shown(body: GenerationBody, field: str) -> str:
    value = getattr(body, field)
    shown = value.model_dump_json(exclude_unset=True) if hasattr(value, "model_dump_json") else str(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
