"""Where the memory of one GPU goes with one quantization."""

from dataclasses import dataclass
from typing import Self

from build.checkpoint.architecture import Architecture
from build.trtllm import memory
from build.trtllm.gpu import Gpu
from slipway.contract.quantization import Quantization
from slipway.contract.recipe import Limits, Recipe

_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Budget:
    """Sizes in bytes.

    obstacle: why TensorRT-LLM has no kernels for the GPU, the heads or the matrices, or None.
    visible: all that CUDA can use. memory_share: share of the free memory that becomes KV cache.
    """

    quantization: Quantization
    obstacle: str | None
    visible: int
    weights: int
    activations: int
    buffers: int
    communication: int
    context: int
    kv_per_token: int
    memory_share: float

    @classmethod
    def of(
        cls, recipe: Recipe, model: Architecture, gpu: Gpu, quantization: Quantization | None = None
    ) -> Self:
        """The budget of a recipe, or of the recipe with another quantization."""
        quantization = quantization or recipe.quantization
        limits = recipe.limits_for(model.context)
        assert limits.max_num_tokens is not None
        parallel = recipe.parallel
        return cls(
            quantization=quantization,
            obstacle=_obstacle(quantization, recipe, model, gpu),
            visible=gpu.visible,
            weights=memory.weight_bytes(model, quantization, parallel),
            activations=memory.activation_bytes(model, limits.max_num_tokens, parallel),
            buffers=memory.buffer_bytes(model, limits.max_batch_size, limits.max_seq_len),
            communication=memory.communication_bytes(parallel),
            context=memory.context_bytes(gpu.memory),
            kv_per_token=memory.kv_bytes_per_token(model, recipe.kv_cache.quantization, parallel),
            memory_share=recipe.kv_cache.fitted(recipe.target).memory_share,
        )

    @property
    def others(self) -> int:
        """Bytes of buffers, communication and CUDA's own."""
        return self.buffers + self.communication + self.context

    @property
    def free(self) -> int:
        """Bytes left when the engine is loaded; below zero when it does not fit."""
        return self.visible - self.weights - self.activations - self.others

    @property
    def kv_bytes(self) -> float:
        """Bytes of the KV cache: a share of the free memory, without transfer buffers; may be below zero."""
        return self.free * self.memory_share - memory.TRANSFER_BYTES

    @property
    def kv_tokens(self) -> int:
        """Tokens of all sequences that the KV cache holds, in whole blocks."""
        block = memory.TOKENS_PER_BLOCK
        return max(0, int(self.kv_bytes)) // (self.kv_per_token * block) * block

    def sequences(self, length: int) -> int:
        """How many sequences of `length` tokens the KV cache holds at once."""
        block = memory.TOKENS_PER_BLOCK
        return self.kv_tokens // (-(-length // block) * block)

    def needed(self, length: int) -> float:
        """Bytes that CUDA must have for the engine and one sequence of `length` tokens."""
        cache = self.kv_per_token * (length + memory.TOKENS_PER_BLOCK)
        return self.visible - self.free + (cache + memory.TRANSFER_BYTES) / self.memory_share

    def shortage(self, limits: Limits) -> str | None:
        """Why no sequence of full length fits, or None."""
        if self.sequences(limits.max_seq_len):
            return None
        taken = (
            f"of {gib(self.visible)} the weights ({self.quantization}) take {gib(self.weights)}, activations "
            f"about {gib(self.activations)} and buffers and CUDA about {gib(self.others)}, which "
        )
        if self.free < 0:
            return f"{taken}is {gib(-self.free)} too much"
        transfer = gib(memory.TRANSFER_BYTES)
        if self.kv_bytes < 0:
            return (
                f"{taken}leaves {gib(self.free)}, and kv_cache.memory_share {self.memory_share:g} of that is "
                f"less than the {transfer} that TensorRT-LLM may reserve to move caches"
            )
        needed = gib(self.kv_per_token * limits.max_seq_len)
        one = f"one sequence of {limits.max_seq_len:,} tokens needs {needed}"
        return f"{taken}leaves {gib(self.kv_bytes)} for the KV cache, but {one}"


def gib(size: float) -> str:
    """Bytes in GiB, the unit of GPU memory."""
    return f"{size / _GIB:.2f} GiB"


def _obstacle(quantization: Quantization, recipe: Recipe, model: Architecture, gpu: Gpu) -> str | None:
    if model.head_dim not in memory.HEAD_SIZES:
        return (
            f"its heads have {model.head_dim} dimensions, and TensorRT-LLM's attention has kernels for "
            f"{', '.join(map(str, memory.HEAD_SIZES))}"
        )
    tall, wide = memory.TILES.get(quantization, (1, 1))
    for outputs, inputs in memory.matrices(model, recipe.parallel.tensor):
        if outputs % tall or inputs % wide:
            return (
                f"{quantization} needs matrices whose outputs are multiples of {tall} and inputs of {wide} "
                f"on every rank, and one is {outputs} x {inputs}"
            )
    return gpu.obstacle(quantization, recipe.kv_cache.quantization)
