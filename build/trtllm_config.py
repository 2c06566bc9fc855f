"""config.json of a TensorRT-LLM checkpoint, as trtllm-build 1.2.1 reads it; called by `convert`.

Keys and defaults: tensorrt_llm/models/modeling_utils.py, models/llama/config.py, models/qwen/config.py.
"""

from typing import Any, Literal

from build.architecture import Architecture
from build.mapping import Mapping
from build.rope import Rope

FILE_NAME = "config.json"
Form = Literal["none", "int8", "int4"]
# Weights stay unquantised in the file: trtllm-build quantises them for the GPU it runs on.
_ALGORITHMS: dict[Form, str | None] = {"none": None, "int8": "W8A16", "int4": "W4A16"}


def config(model: Architecture, mapping: Mapping, form: Form, dtype: str) -> dict[str, Any]:
    """What config.json says.

    form: how trtllm-build is to store the projections. dtype: of the weights, as TensorRT-LLM names it.
    max_position_embeddings is the model's context, so that an engine of which nobody gave the length does
    not outgrow a sliding window, which engines do not have.
    """
    values: dict[str, Any] = {
        "producer": {"name": "slipway"},
        "architecture": model.name,
        "dtype": dtype,
        # As NVIDIA's exporter has it: logits are no more exact than the weights, and half as large.
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
        "rotary_scaling": _scaling(model.rope),
        "use_parallel_embedding": True,
        "embedding_sharding_dim": 0,
        "attn_bias": model.qkv_bias,
        "mlp_bias": model.mlp_bias,
        "mapping": {
            "world_size": mapping.world_size,
            "tp_size": mapping.tensor,
            "pp_size": mapping.pipeline,
        },
        # Without exclude_modules trtllm-build leaves the embedding and the lm_head as they are.
        "quantization": {"quant_algo": _ALGORITHMS[form], "kv_cache_quant_algo": None},
    }
    if model.name == "Qwen2ForCausalLM":
        # seq_length belongs to the first Qwen's attention, which Qwen2 does not use; the key must be there.
        values |= {"qwen_type": "qwen2", "seq_length": 8192}
    return values


def _scaling(rope: Rope) -> dict[str, Any] | None:
    if rope.kind == "default":
        return None  # TensorRT-LLM knows no kind of that name
    values: dict[str, Any] = {"rope_type": rope.kind, "factor": rope.factor}
    if rope.llama3 is not None:
        values |= {
            "low_freq_factor": rope.llama3.low_freq_factor,
            "high_freq_factor": rope.llama3.high_freq_factor,
            "original_max_position_embeddings": rope.llama3.original_context,
        }
    return values
