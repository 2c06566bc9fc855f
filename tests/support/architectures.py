"""Tiny models of every supported architecture, with computed weights that are the same in any library.

It needs NumPy only: the script that runs NVIDIA's exporter on them works without Slipway.
"""

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_SHARED: dict[str, Any] = {
    "vocab_size": 262,  # not divisible by 4 or 8 ranks
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "bos_token_id": 256,
    "eos_token_id": 257,
}
_LLAMA3_ROPE = {
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}


def _config(family: str, **changes: Any) -> dict[str, Any]:
    names = {"architectures": [f"{family}ForCausalLM"], "model_type": family.lower()}
    return {**names, **_SHARED, **changes}


# config.json by name, as transformers 4 writes it.
CONFIGS: dict[str, dict[str, Any]] = {
    "llama-2": _config("Llama", num_key_value_heads=4),
    "llama-3": _config("Llama", rope_theta=500000.0),
    "llama-3.1": _config("Llama", **_LLAMA3_ROPE),
    "llama-3.2": _config("Llama", **_LLAMA3_ROPE, tie_word_embeddings=True),
    "llama-biases": _config("Llama", attention_bias=True, mlp_bias=True),
    "mistral": _config("Mistral", head_dim=32, sliding_window=None),
    "qwen2": _config("Qwen2", rms_norm_eps=1e-6, rope_theta=1000000.0, use_sliding_window=False),
    "qwen2.5-tied": _config("Qwen2", rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True),
    "deepseek-coder": _config(
        "Llama", num_key_value_heads=4, rope_theta=100000.0, rope_scaling={"type": "linear", "factor": 4.0}
    ),
}

_NARROW: dict[str, Any] = {
    "vocab_size": 320
}  # NVIDIA's exporter pads others to a multiple of 64 for int4-awq
# The narrowest model that two ranks can share in groups of 128 inputs.
_GROUPED = {
    **_NARROW,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 1,
    "num_attention_heads": 8,
    "head_dim": 32,
}
# The calibrated models by name: config.json, --quantization and --kv-cache.
CALIBRATED: dict[str, tuple[dict[str, Any], str, str]] = {
    "llama-int4-awq": (_config("Llama", **_GROUPED), "int4-awq", "none"),
    "qwen2-int4-awq": (_config("Qwen2", **_GROUPED, rope_theta=1000000.0), "int4-awq", "fp8"),
    "llama-3.2-int8-sq": (
        _config("Llama", **_NARROW, **_LLAMA3_ROPE, tie_word_embeddings=True),
        "int8-sq",
        "int8",
    ),
    "qwen2-int8-sq": (_config("Qwen2", **_NARROW, num_hidden_layers=1), "int8-sq", "none"),
    "llama-fp8": (_config("Llama", **_NARROW, attention_bias=True, mlp_bias=True), "fp8", "fp8"),
    "mistral-int8-cache": (_config("Mistral", **_NARROW, head_dim=32, sliding_window=None), "none", "int8"),
}


def numbers(name: str, shape: tuple[int, ...]) -> Floats:
    """The tensor `name`: values between -1 and 1, from Knuth's multiplicative hash of the index."""
    index = np.arange(np.prod(shape), dtype=np.uint64) + zlib.crc32(name.encode())
    hashed = (index * np.uint64(2654435761)) & np.uint64(0xFFFFFFFF)
    return (hashed.astype(np.float64) / 2**31 - 1).astype(np.float32).reshape(shape)


def coarse_numbers(name: str, shape: tuple[int, ...]) -> Floats:
    """As `numbers`, but a projection's matrix has one magnitude a row, so that its file compresses well."""
    drawn = numbers(name, shape)
    if "_proj.weight" not in name:
        return drawn
    bits = np.arange(np.prod(shape), dtype=np.uint64) + (
        np.uint64(zlib.crc32(name.encode())) << np.uint64(32)
    )
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):  # SplitMix64, whose bits follow no pattern
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(factor)
    signs = 1 - 2.0 * (bits >> np.uint64(63)).astype(np.float32).reshape(shape)
    sizes = np.exp2(-np.floor(3 * np.abs(numbers(f"{name} rows", (shape[0], 1))))) / 16
    coarse: Floats = (signs * sizes).astype(np.float32)
    return coarse
