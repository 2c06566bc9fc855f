"""config.json of a TensorRT-LLM checkpoint, as trtllm-build 1.2.1 reads it.

Keys and defaults: tensorrt_llm/models/modeling_utils.py, models/llama/config.py, models/qwen/config.py.
"""

from typing import Any

from build.checkpoint.architecture import Architecture
from build.trtllm.rank_tensors import GROUP_SIZE
from slipway.contract.quantization import CALIBRATED, CacheQuantization, Quantization
from slipway.contract.recipe import Parallel

FILE_NAME = "config.json"
# For int8 and int4 the file holds unquantized weights: trtllm-build quantizes them for the GPU it runs on.
ALGORITHMS: dict[Quantization, str | None] = {
    "none": None,
    "int8": "W8A16",
    "int4": "W4A16",
    "int4-awq": "W4A16_AWQ",
    "int8-sq": "W8A8_SQ_PER_CHANNEL",
    "fp8": "FP8",
}
_CACHE_ALGORITHMS: dict[CacheQuantization, str | None] = {"none": None, "int8": "INT8", "fp8": "FP8"}


def config(
    model: Architecture, parallel: Parallel, quantization: Quantization, cache: CacheQuantization, dtype: str
) -> dict[str, Any]:
    """The values of config.json.

    quantization: of the projections. cache: of keys and values. dtype: of all other weights, as TensorRT-LLM
    names it. max_position_embeddings is the model's context, so that an engine without a given length stays
    within a sliding window, which engines do not have.
    """
    values: dict[str, Any] = {
        "producer": {"name": "slipway"},
        "architecture": model.name,
        "dtype": dtype,
        # As in NVIDIA's exporter: logits are no more exact than the weights, and half as large as in fp32.
        "logits_dtype": "float16",
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_size": model.head_dim,
        "hidden_act": "silu",
        "norm_epsilon": model.norm_epsilon,
        "position_embedding_type": "rope_gpt_neox",
        "max_position_embeddings": model.context,
        "rotary_base": model.rope.theta,
        "rotary_scaling": model.rope.scaling(),
        "use_parallel_embedding": True,
        "embedding_sharding_dim": 0,
        "attn_bias": model.qkv_bias,
        "mlp_bias": model.mlp_bias,
        "mapping": {
            "world_size": parallel.world_size,
            "tp_size": parallel.tensor,
            "pp_size": parallel.pipeline,
        },
        "quantization": _quantization(quantization, cache),
    }
    if model.name == "Qwen2ForCausalLM":
        # The key must be there; only the first Qwen's attention uses seq_length.
        values |= {"qwen_type": "qwen2", "seq_length": 8192}
    return values


def _quantization(quantization: Quantization, cache: CacheQuantization) -> dict[str, Any]:
    """As in NVIDIA's exporter (process_layer_quant_config in modelopt/torch/export/quant_utils.py)."""
    values: dict[str, Any] = {
        "quant_algo": ALGORITHMS[quantization],
        "kv_cache_quant_algo": _CACHE_ALGORITHMS[cache],
    }
    if quantization == "int4-awq":
        values |= {"group_size": GROUP_SIZE, "has_zero_point": False, "pre_quant_scale": True}
    if (
        quantization in CALIBRATED
    ):  # trtllm-build leaves embedding and lm_head of the others unquantized itself
        values["exclude_modules"] = ["lm_head"]
    return values
