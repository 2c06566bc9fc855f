"""Checkpoints with random weights and the shapes of any Llama.

    python -m bench.random_checkpoint CONFIG FOLDER

CONFIG: the config.json of a model, such as tests/configs/llama-3-8b.json. FOLDER: made, and filled with
2 bytes for each parameter. A conversion takes as long on it as on trained weights.
"""

import json
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

_BYTES = 2  # of a bfloat16
_POOL = 1 << 24
_PIECE = 1 << 22

Shapes = dict[str, tuple[int, ...]]


def write(config: Mapping[str, Any], directory: Path) -> None:
    """Fill an empty folder with a merged safetensors checkpoint in bfloat16 and a tokenizer of one letter.

    config: of LlamaForCausalLM, or of an architecture with the same tensors.
    """
    shapes = _shapes(config)
    random = np.random.default_rng(0)
    # Values like a trained layer's; the upper half of a float32 is its bfloat16. They are drawn once, and
    # each tensor starts at another of them: to draw eight billion takes minutes.
    pool = (random.standard_normal(_POOL, np.float32) * np.float32(0.02)).view(np.uint32) >> 16
    numbers = np.tile(pool.astype(np.uint16), 2)
    with (directory / "model.safetensors").open("wb") as file:
        file.write(_header(shapes))
        for shape in shapes.values():
            left, start = prod(shape), int(random.integers(_POOL))
            while left:
                piece = numbers[start : start + min(left, _PIECE)]
                file.write(piece.data)
                left -= len(piece)
                start = (start + len(piece)) % _POOL
    _write_json(directory / "config.json", config)
    tokenizer = Tokenizer(models.BPE({"a": 0, "<s>": 1, "</s>": 2}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer.save(str(directory / "tokenizer.json"))
    _write_json(directory / "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>"})


def _shapes(config: Mapping[str, Any]) -> Shapes:
    hidden, inner, rows = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = (head * config[f"num_{kind}_heads"] for kind in ("attention", "key_value"))
    shapes: Shapes = {"model.embed_tokens.weight": (rows, hidden)}
    for number in range(config["num_hidden_layers"]):
        layer = {
            "input_layernorm": (hidden,),
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "post_attention_layernorm": (hidden,),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        shapes |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (hidden,)
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (rows, hidden)
    return shapes


def _header(shapes: Shapes) -> bytes:
    """The start of a safetensors file: the length of its JSON, then the JSON, padded to 8 bytes."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + _BYTES * prod(shape)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(parents=True)
    write(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), target)
