"""Tiny Llama checkpoints with random weights, written without torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

Tensor = npt.NDArray[Any]

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 264,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "eos_token_id": 257,
    "bos_token_id": 256,
}
TEMPLATE = "{% for message in messages %}<s>{{ message.content }}</s>{% endfor %}"


def tensors(config: Mapping[str, Any] = CONFIG) -> dict[str, Tensor]:
    """The tensors as transformers names them, small random bf16 numbers."""
    hidden, inner, rows = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    size = hidden // config["num_attention_heads"]
    key = config["num_key_value_heads"] * size
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (rows, hidden)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        shapes |= {
            f"{name}.self_attn.q_proj.weight": (hidden, hidden),
            f"{name}.self_attn.k_proj.weight": (key, hidden),
            f"{name}.self_attn.v_proj.weight": (key, hidden),
            f"{name}.self_attn.o_proj.weight": (hidden, hidden),
            f"{name}.mlp.gate_proj.weight": (inner, hidden),
            f"{name}.mlp.up_proj.weight": (inner, hidden),
            f"{name}.mlp.down_proj.weight": (hidden, inner),
            f"{name}.input_layernorm.weight": (hidden,),
            f"{name}.post_attention_layernorm.weight": (hidden,),
        }
    shapes["model.norm.weight"] = (hidden,)
    random = np.random.default_rng(0)
    return {name: random.normal(0, 0.1, shape).astype(ml_dtypes.bfloat16) for name, shape in shapes.items()}


def tokenizer(extra: int = 0) -> Tokenizer:
    """Byte-level: 256 bytes, <s> 256, </s> 257, and `extra` more added tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({character: index for index, character in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<s>", "</s>", *(f"<extra_{index}>" for index in range(extra))])
    return made


def write_config(directory: Path, **changes: Any) -> None:
    """Write config.json with `changes`; a value of None removes the key."""
    config = {name: value for name, value in {**CONFIG, **changes}.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(config))


def write_tokenizer(directory: Path, extra: int = 0, **config: Any) -> None:
    tokenizer(extra).save(str(directory / "tokenizer.json"))
    written = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE, **config}
    (directory / "tokenizer_config.json").write_text(json.dumps(written))


def write_weights(directory: Path, weights: Mapping[str, Tensor], shards: int = 1) -> None:
    """Write model.safetensors, or `shards` files and their index."""
    if shards == 1:
        save_file(dict(weights), directory / "model.safetensors")
        return
    names = list(weights)
    index: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        save_file({name: weights[name] for name in names[shard::shards]}, directory / file)
        index |= dict.fromkeys(names[shard::shards], file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def write(directory: Path, shards: int = 1) -> Path:
    """Write a checkpoint that is valid."""
    directory.mkdir(parents=True, exist_ok=True)
    write_config(directory)
    write_tokenizer(directory)
    write_weights(directory, tensors(), shards)
    return directory
