"""config.json in the words of transformers 4, which every later version reads too."""

from typing import Any

from build.checkpoint.architecture import Architecture

_MODEL_TYPES = {"LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral", "Qwen2ForCausalLM": "qwen2"}


def transformers_config(model: Architecture) -> dict[str, Any]:
    """The values that describe `model`, whichever version wrote the checkpoint's own file.

    max_position_embeddings is the model's context, which ends where a sliding window would begin to matter.
    So there is no window.
    """
    values: dict[str, Any] = {
        "architectures": [model.name],
        "model_type": _MODEL_TYPES[model.name],
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context,
        "hidden_act": "silu",
        "rms_norm_eps": model.norm_epsilon,
        "rope_theta": model.rope.theta,
        "rope_scaling": model.rope.scaling(),
        "tie_word_embeddings": model.tied,
    }
    if model.name == "LlamaForCausalLM":
        values |= {"attention_bias": model.output_bias, "mlp_bias": model.mlp_bias}
    if model.name == "MistralForCausalLM":
        values["sliding_window"] = None  # transformers' default is 4096
    if model.name == "Qwen2ForCausalLM":
        values["use_sliding_window"] = False
    return values
