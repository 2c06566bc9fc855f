"""A recipe (engines/NAME.yaml): which checkpoint becomes which engine."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from slipway.contract.errors import RecipeError
from slipway.contract.quantization import CALIBRATED, CacheQuantization, Quantization
from slipway.contract.target import TARGETS, Target, TargetByName

Dtype = Literal["bfloat16", "float16"]
ToolCallFormat = Literal["hermes", "llama3", "mistral"]
Positive = Annotated[int, Field(gt=0)]
DEFAULT_MAX_SEQ_LEN = 8192
# As trtllm-build has it (--max_num_tokens).
DEFAULT_MAX_NUM_TOKENS = 8192
# Of an answer: about 1,500 words of English; a laptop writes them in a minute or two. Thoughts are longer.
DEFAULT_MAX_TOKENS = 2048
DEFAULT_MAX_TOKENS_WITH_THOUGHTS = 8192


class Section(BaseModel):
    """A part of a recipe; unknown keys are errors. The text below a field describes it in the docs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Limits(Section):
    """The capacity of an engine, in sequences and tokens.

    max_input_len: of a prompt. max_seq_len: of a prompt and its answer together.
    max_num_tokens: of all sequences in one step of TensorRT-LLM; None in an ONNX engine, where the runtime
        chooses.
    """

    max_batch_size: Positive
    max_input_len: Positive
    max_seq_len: Positive
    max_num_tokens: Positive | None = None


class RequestedLimits(Section):
    """The limits as a recipe gives them; None takes the default of the target and the model (`fitted`)."""

    max_batch_size: Positive | None = None
    """Sequences that run at the same time. Default: the target's, in the table above."""
    max_input_len: Positive | None = None
    """Tokens of the longest prompt. Default: max_seq_len - 1."""
    max_seq_len: Positive | None = None
    """Tokens of the longest prompt and answer together. Default: the model's context, at most 8192."""
    max_num_tokens: Positive | None = None
    """Tokens of all sequences in one step. Default: 8192, or what all sequences hold together."""

    @model_validator(mode="after")
    def input_fits_sequence(self) -> Self:
        """A prompt must leave room for at least one token."""
        if self.max_input_len and self.max_seq_len and self.max_input_len >= self.max_seq_len:
            raise ValueError(
                f"max_input_len {self.max_input_len} must be below max_seq_len {self.max_seq_len}, "
                "which holds the prompt and the answer"
            )
        return self

    def fitted(self, context: int, target: Target) -> Limits:
        """The limits of an engine for `target` and a model of `context` positions.

        max_seq_len defaults to the context, but at most 8192, so that a model of 128 k does not take
        memory by surprise; max_input_len defaults to all of it but the first answer token.
        Raises RecipeError when a given limit does not fit.
        """
        max_seq_len = self.max_seq_len or min(DEFAULT_MAX_SEQ_LEN, context)
        if max_seq_len > context:
            raise RecipeError(
                f"limits.max_seq_len {max_seq_len} is more than the model's context of {context} tokens; "
                f"give {context} or less."
            )
        max_input_len = self.max_input_len or max_seq_len - 1
        if max_input_len >= max_seq_len:
            raise RecipeError(
                f"limits.max_input_len {max_input_len} must be below max_seq_len, which is {max_seq_len} "
                "here; lower it or raise max_seq_len."
            )
        max_batch_size = self.max_batch_size or target.max_batch_size
        max_num_tokens = None
        if "limits.max_num_tokens" in target.recipe_keys:
            # trtllm-build lowers what is more (check_max_num_tokens in tensorrt_llm/_common.py).
            most = max_batch_size * max_seq_len
            max_num_tokens = self.max_num_tokens or max(min(DEFAULT_MAX_NUM_TOKENS, most), max_batch_size)
            if max_num_tokens < max_batch_size:
                raise RecipeError(
                    f"limits.max_num_tokens {max_num_tokens} is less than max_batch_size {max_batch_size}, "
                    "but a step has at least one token of every sequence; raise one or lower the other."
                )
            if target.compiled and max_num_tokens > most:
                raise RecipeError(
                    f"limits.max_num_tokens {max_num_tokens} is more than max_batch_size {max_batch_size} "
                    f"sequences of max_seq_len {max_seq_len} have; give {most} or less."
                )
        return Limits(
            max_batch_size=max_batch_size,
            max_input_len=max_input_len,
            max_seq_len=max_seq_len,
            max_num_tokens=max_num_tokens,
        )


class KVCache(Section):
    """Memory for the keys and values of sequences.

    memory_share: the largest share of the memory free when the engine starts, cached prompts included.
    quantization: of the keys and values of a TensorRT-LLM engine.
    """

    memory_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    quantization: CacheQuantization = "none"

    def chunks_prompts(self, weights: Quantization) -> bool:
        """Whether a TensorRT-LLM engine with such weights reads prompts in chunks, and reuses blocks.

        build() in tensorrt_llm/builder.py switches paged context FMHA off where not.
        """
        return self.quantization == "none" or (self.quantization == "fp8" and weights == "fp8")


class RequestedKVCache(Section):
    """KVCache as a recipe gives it."""

    memory_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share for keys and values of the memory that is free when the engine starts. Default: the target's."""
    quantization: CacheQuantization = "none"
    """Of keys and values."""

    def fitted(self, target: Target) -> KVCache:
        """The KV cache of an engine for `target`."""
        return KVCache(memory_share=self.memory_share or target.memory_share, quantization=self.quantization)


class Parallel(Section):
    """How many GPUs share a TensorRT-LLM engine."""

    tensor: Positive = 1
    """Parts that every matrix is cut into, one for each GPU."""
    pipeline: Positive = 1
    """Stages that the layers are distributed over, one for each GPU."""
    gpus: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Which GPUs, as CUDA counts them. Default: the first ones, which only one engine can have."""

    @model_validator(mode="after")
    def gpus_are_as_many(self) -> Self:
        """Each rank has a GPU of its own."""
        if self.gpus is not None and len(set(self.gpus)) != self.world_size:
            raise ValueError(
                f"gpus {list(self.gpus)} must be {self.world_size} different ones, tensor times pipeline"
            )
        return self

    @property
    def world_size(self) -> int:
        """GPUs, and processes, of one engine."""
        return self.tensor * self.pipeline


class Chat(Section):
    """How conversations are put to the model."""

    system: str | None = None
    """The system prompt of a conversation that has none."""
    stop: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Strings and special tokens that end every answer, beside those of the request."""
    max_tokens: Positive | None = None
    """Tokens of an answer when the request does not say; a request may ask for more. Default: max_new_tokens
    of generation_config.json, else 2048, or 8192 where the chat template has thoughts."""
    tool_calls: ToolCallFormat | None = None
    """How the model writes a tool call. Default: what its chat template says."""


class RequestedChat(Chat):
    """Chat as a recipe gives it."""

    template: Path | None = None
    """A Jinja file that replaces the checkpoint's chat template."""


class Recipe(Section):
    """One engine to build."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$")]
    """What clients pass as `model`, and the name of the engine's folder."""
    checkpoint: Path
    """The folder that save_pretrained wrote; with adapters, their base."""
    adapters: tuple[Path, ...] = ()
    """Folders of LoRA adapters, which are merged into the checkpoint in this order."""
    target: TargetByName
    """Where the engine runs."""
    quantization: Quantization
    """Of the weights."""
    dtype: Dtype | None = None
    """Of what is not quantized, activations and KV cache included. Default: the checkpoint's."""
    calibration: Path | None = None
    """The text that int4-awq, int8-sq, fp8 and a quantized KV cache are set by. Default: a short one."""
    limits: RequestedLimits = RequestedLimits()
    kv_cache: RequestedKVCache = RequestedKVCache()
    parallel: Parallel = Parallel()
    chat: RequestedChat = RequestedChat()

    @model_validator(mode="after")
    def quantization_suits_target(self) -> Self:
        """Each target has kernels for some quantizations only."""
        given = self.quantization
        if given not in self.target.quantizations:
            suits = ", ".join(name for name, target in TARGETS.items() if given in target.quantizations)
            allowed = " or ".join(self.target.quantizations)
            raise ValueError(f"quantization {given} is for target {suits}; give {allowed} for {self.target}")
        cache = self.kv_cache.quantization
        if cache not in self.target.cache_quantizations:
            suits = ", ".join(name for name, target in TARGETS.items() if cache in target.cache_quantizations)
            allowed = " or ".join(self.target.cache_quantizations)
            raise ValueError(
                f"kv_cache.quantization {cache} is for target {suits}; give {allowed} for {self.target}"
            )
        return self

    @model_validator(mode="after")
    def memory_share_suits_target(self) -> Self:
        """TensorRT-LLM's KvCacheConfig takes a share below 1 only."""
        if self.target.compiled and self.kv_cache.memory_share == 1:
            raise ValueError(
                f"kv_cache.memory_share 1 leaves {self.target} no memory to run in; give 0.95 or less"
            )
        return self

    @model_validator(mode="after")
    def fields_suit_target(self) -> Self:
        """A key that the target does not take is an error, not an option without effect."""
        for key in dict.fromkeys(key for target in TARGETS.values() for key in target.recipe_keys):
            if key not in self.target.recipe_keys and self._gives(key):
                suits = ", ".join(name for name, target in TARGETS.items() if key in target.recipe_keys)
                raise ValueError(f"{key} is for target {suits}; leave it out for {self.target}")
        if self.calibration and not self.calibrated:
            raise ValueError(
                f"quantization {self.quantization} reads no calibration text; leave calibration out, or give "
                f"{', '.join(CALIBRATED)}, or a kv_cache.quantization"
            )
        return self

    def _gives(self, key: str) -> bool:
        """Whether the recipe has `key`, such as limits.max_num_tokens."""
        section: Section = self
        *outer, last = key.split(".")
        for name in outer:
            section = getattr(section, name)
        return last in section.model_fields_set and getattr(section, last) is not None

    @property
    def calibrated(self) -> bool:
        """Whether the build reads a text to set scales."""
        scaled = self.quantization in CALIBRATED or self.kv_cache.quantization != "none"
        return scaled and "calibration" in self.target.recipe_keys

    def limits_for(self, context: int) -> Limits:
        """The limits of this engine for a model of `context` positions.

        Raises RecipeError when a given limit does not fit the model or the other fields.
        """
        limits = self.limits.fitted(context, self.target)
        tokens = limits.max_num_tokens
        cache = self.kv_cache.quantization
        chunks = self.kv_cache.fitted(self.target).chunks_prompts(self.quantization)
        whole = self.target.compiled and not chunks
        if whole and tokens is not None and limits.max_input_len > tokens:
            raise RecipeError(
                f"kv_cache.quantization {cache} with quantization {self.quantization} rules out reading a "
                f"prompt in chunks, so limits.max_input_len {limits.max_input_len} must not exceed "
                f"max_num_tokens, which is {tokens} here; lower the one or raise the other, or give "
                "kv_cache.quantization none."
            )
        return limits
