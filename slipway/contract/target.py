"""The targets: what an engine can be built for, and what the engines of each target take and refuse."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticKnownError

from slipway.contract.quantization import CacheQuantization, Quantization

Device = Literal["cpu", "dml", "cuda"]
# "trtllm" is the C++ backend of TensorRT-LLM, "llmapi" its PyTorch backend.
Runtime = Literal["onnxruntime", "openvino", "genai", "trtllm", "llmapi"]


@dataclass(frozen=True, slots=True)
class FieldLimit:
    """The highest value of a request field that counts, unless it reaches the whole vocabulary.

    reason: why, and what to ask for instead.
    """

    highest: int
    reason: str


@dataclass(frozen=True, slots=True)
class Target:
    """What the engines of one target have in common.

    name: as recipes and manifests write it.
    runtime: the library that runs the engine. device: where it runs.
    quantizations: of the weights. cache_quantizations: of the KV cache.
    recipe_keys: the keys of a recipe that only some targets take, and this one does.
    max_batch_size, memory_share: used where a recipe gives none.
    requires: packages and version ranges that serve the engine, where the build does not decide them.
    on_triton: whether Triton serves it; an engine for DirectML is served on Windows, without Triton.
    text_only: whether it reads a prompt as text only, so that a special token and its name are the same.
    refuses: fields of a query that it cannot honour, each with the reason and the way out.
    refuses_with_several_ends: the same, where the model has several end-of-sequence tokens.
    limits: fields of a query that it honours up to a limit.
    """

    name: str
    runtime: Runtime
    device: Device
    quantizations: tuple[Quantization, ...]
    max_batch_size: int
    memory_share: float
    cache_quantizations: tuple[CacheQuantization, ...] = ("none",)
    recipe_keys: tuple[str, ...] = ()
    requires: Mapping[str, str] = field(default_factory=dict)
    on_triton: bool = True
    text_only: bool = False
    refuses: Mapping[str, str] = field(default_factory=dict)
    refuses_with_several_ends: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, FieldLimit] = field(default_factory=dict)

    @property
    def compiled(self) -> bool:
        """Whether trtllm-build compiles the engine, for one kind of GPU and one version."""
        return self.runtime == "trtllm"

    def __str__(self) -> str:
        return self.name


_NO_PROMPT_LOG_PROBS = "only engines for the CPU report how likely a prompt is; leave it out"
_NO_EMPTY_ANSWER = "TensorRT-LLM gives no answer without a token; ask for 1"
_NO_SAMPLER = "the sampler of TensorRT-LLM's PyTorch backend (1.2) takes it and does nothing; leave it out"
_NO_TENSOR = "Triton's llmapi model has no tensor for it; leave it out"
_NO_GRAMMARS = "Triton's llmapi model has no tensor for grammars; ask for JSON in the prompt"
_NO_LOG_PROBS = "Triton's llmapi model gives no log-probabilities; leave it out"

_ALL = (
    Target(
        name="onnx-cpu",
        runtime="onnxruntime",
        device="cpu",
        # The integer products of int8 are kernels of the CPU.
        quantizations=("int4", "int8"),
        max_batch_size=16,
        memory_share=0.5,
        # The oldest onnxruntime with 8-bit MatMulNBits, which the builder writes.
        requires={"onnxruntime": ">=1.24"},
    ),
    # The build decides the version of OpenVINO that serves the engine.
    Target(
        name="openvino-cpu",
        runtime="openvino",
        device="cpu",
        quantizations=("int4", "int8", "none"),
        max_batch_size=16,
        memory_share=0.5,
    ),
    # In ONNX engines for a GPU every running sequence reserves max_seq_len tokens of memory and takes a step
    # of its own. Their onnxruntime has several package names, so the executor checks the device instead.
    Target(
        name="onnx-dml",
        runtime="genai",
        device="dml",
        quantizations=("int4",),
        max_batch_size=4,
        memory_share=0.5,
        on_triton=False,
        refuses={"prompt_logprobs": _NO_PROMPT_LOG_PROBS},
    ),
    Target(
        name="onnx-cuda",
        runtime="genai",
        device="cuda",
        quantizations=("int4",),
        max_batch_size=4,
        memory_share=0.5,
        refuses={"prompt_logprobs": _NO_PROMPT_LOG_PROBS},
    ),
    Target(
        name="tensorrt-llm",
        runtime="trtllm",
        device="cuda",
        quantizations=get_args(Quantization),
        # TensorRT-LLM pages its KV cache, so only the buffers of its decoder grow with the batch.
        max_batch_size=64,
        # freeGpuMemoryFraction of upstream's KvCacheConfig.
        memory_share=0.9,
        cache_quantizations=get_args(CacheQuantization),
        recipe_keys=("dtype", "calibration", "parallel", "limits.max_num_tokens"),
        refuses={
            "prompt_logprobs": _NO_PROMPT_LOG_PROBS,
            "max_tokens": _NO_EMPTY_ANSWER,
            "min_p": "TensorRT-LLM's engine model has no input for it; use top_p or top_k",
            "top_logprobs": "TensorRT-LLM gives the log-probabilities of the chosen tokens only; ask for 0",
        },
        # TensorRT-LLM knows one end-of-sequence token; the others end an answer as stop words.
        refuses_with_several_ends={"min_tokens": "TensorRT-LLM can hold back only one of them; leave it out"},
        # TOP_K_MAX in cpp/tensorrt_llm/kernels/samplingTopKKernels.h; more is clipped without an error.
        limits={
            "top_k": FieldLimit(
                1024,
                "TensorRT-LLM's sampler keeps at most 1024 tokens; ask for 1024, or for 0, which means all",
            )
        },
    ),
    Target(
        name="tensorrt-llm-llmapi",
        runtime="llmapi",
        device="cuda",
        # The PyTorch backend loads the checkpoint as it is.
        quantizations=("none",),
        max_batch_size=64,
        memory_share=0.9,
        cache_quantizations=("none", "fp8"),
        recipe_keys=("dtype", "parallel", "limits.max_num_tokens"),
        # The oldest version whose `LLM` takes the arguments that Slipway writes.
        requires={"tensorrt_llm": ">=1.2"},
        text_only=True,
        refuses={
            "seed": f"{_NO_SAMPLER}, or give temperature 0, which needs none",
            "presence_penalty": _NO_SAMPLER,
            "frequency_penalty": _NO_SAMPLER,
            "repetition_penalty": _NO_TENSOR,
            "min_p": _NO_TENSOR,
            "logit_bias": _NO_TENSOR,
            "min_tokens": _NO_TENSOR,
            "ignore_eos": _NO_TENSOR,
            "prompt_logprobs": _NO_PROMPT_LOG_PROBS,
            "logprobs": _NO_LOG_PROBS,
            "top_logprobs": _NO_LOG_PROBS,
            "max_tokens": _NO_EMPTY_ANSWER,
            "response_format": _NO_GRAMMARS,
            "tool_choice": "Triton's llmapi model has no tensor for grammars, which enforce calls; give auto",
            "best_of": "answers are ranked by log-probabilities, which Triton's llmapi model does not give; "
            "ask for all of them with n",
            "prompt": "Triton's llmapi model has no tensor for token ids; send text",
            "bad_words": _NO_TENSOR,
            "truncate_prompt_tokens": "Triton's llmapi model has no tensor for token ids; shorten the text",
            "add_special_tokens": _NO_TENSOR,
        },
    ),
)
TARGETS: Mapping[str, Target] = {target.name: target for target in _ALL}


def _from_name(value: object) -> Target:
    if isinstance(value, Target):
        return value
    if isinstance(value, str) and value in TARGETS:
        return TARGETS[value]
    *most, last = (f"'{name}'" for name in TARGETS)
    raise PydanticKnownError("literal_error", {"expected": f"{', '.join(most)} or {last}"})


# A target in a pydantic model: written and read as its name.
TargetByName = Annotated[
    Target,
    PlainValidator(_from_name),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"enum": list(TARGETS)}),
]
