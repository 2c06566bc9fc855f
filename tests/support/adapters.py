"""LoRA adapters of tiny checkpoints, trained with peft by `tests/golden/peft_adapters.py`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from support import tiny_checkpoints
from support.paths import GOLDEN

ADAPTERS = GOLDEN / "peft"
# The prompt of the recorded logits, of ids that each vocabulary has.
PROMPT = [256, 72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100, 33]
_PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Case:
    """lora: fields of LoraConfig. config: changes of the base to `tiny_checkpoints.CONFIG`.

    rows: rows of the embedding after tokens were added.
    """

    lora: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None


_UNTIED = {"tie_word_embeddings": False}
# Keeps the files small.
_SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1}
CASES = {
    "all projections": Case({"r": 4, "lora_alpha": 8, "target_modules": _PROJECTIONS}, _UNTIED),
    "ranks by pattern": Case(
        {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "use_rslora": True,
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {"layers.1.mlp.down_proj": 32, r"layers\.0\.self_attn\..*": 3},
        },
        _UNTIED,
    ),
    "dora": Case({"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"], "use_dora": True}),
    "trained biases": Case(
        {"r": 2, "lora_alpha": 2, "target_modules": ["q_proj", "o_proj"], "bias": "all"},
        {"attention_bias": True},
    ),
    "tied embedding": Case({"r": 2, "lora_alpha": 4, "target_modules": ["embed_tokens", "v_proj"]}),
    "tied head": Case({"r": 2, "lora_alpha": 4, "target_modules": ["lm_head", "v_proj"]}),
    "added tokens": Case(
        {
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["v_proj"],
            "modules_to_save": ["embed_tokens", "lm_head"],
        },
        rows=272,
    ),
}


def write_base(case: Case, directory: Path) -> Path:
    """Write the model that the adapter was trained on, in fp32."""
    directory.mkdir(parents=True)
    config = {**tiny_checkpoints.CONFIG, **_SMALL, **case.config}
    tiny_checkpoints.write_config(directory, **config)
    tiny_checkpoints.write_tokenizer(directory)
    weights = {name: values.astype(np.float32) for name, values in tiny_checkpoints.tensors(config).items()}
    for name in weights:
        if "norm" in name:
            weights[name] += 1  # so that a trained layer changes the logits
    random = np.random.default_rng(1)
    if config.get("attention_bias"):
        for name in [name for name in weights if "self_attn" in name]:
            rows = len(weights[name])
            bias = random.normal(0, 0.1, rows).astype(np.float32)
            weights[name.removesuffix("weight") + "bias"] = bias
    if not config["tie_word_embeddings"]:
        shape = weights["model.embed_tokens.weight"].shape
        weights["lm_head.weight"] = random.normal(0, 0.1, shape).astype(np.float32)
    tiny_checkpoints.write_weights(directory, weights)
    return directory
