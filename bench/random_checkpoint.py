"""Checkpoints with random weights and the shapes of any Llama.

    python -m bench.random_checkpoint CONFIG FOLDER

CONFIG: the config.json of a model, such as tests/configs/llama-3-8b.json. FOLDER: made, and filled with
2 bytes for each parameter. A conversion takes as long on it as on trained weights.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

# As Hugging Face cuts the files of a model (transformers' save_pretrained, max_shard_size).
_SHARD_BYTES = 5_000_000_000
_BYTES = 2  # of a bfloat16
_POOL = 1 << 24
_PIECE = 1 << 22

Shapes = dict[str, tuple[int, ...]]


def size(config: Mapping[str, Any]) -> int:
    """Bytes of its weights."""
    return _BYTES * sum(map(prod, _shapes(config).values()))


def write(config: Mapping[str, Any], directory: Path) -> None:
    """Fill an empty folder with a merged safetensors checkpoint in bfloat16 and a tokenizer of one letter.

    config: of LlamaForCausalLM, or of an architecture with the same tensors.
    """
    shards = list(_shards(_shapes(config)))
    names = [f"model-{index:05}-of-{len(shards):05}.safetensors" for index in range(1, len(shards) + 1)]
    random = np.random.default_rng(0)
    # Values like a trained layer's; the upper half of a float32 is its bfloat16. They are drawn once, and
    # each tensor starts at another of them: to draw eight billion takes minutes.
    pool = (random.standard_normal(_POOL, np.float32) * np.float32(0.02)).view(np.uint32) >> 16
    numbers = np.tile(pool.astype(np.uint16), 2)
    for name, shapes in zip(names, shards, strict=True):
        with (directory / name).open("wb") as file:
            file.write(_header(shapes))
            for shape in shapes.values():
                left, start = prod(shape), int(random.integers(_POOL))
                while left:
                    piece = numbers[start : start + min(left, _PIECE)]
                    file.write(piece.data)
                    left -= len(piece)
                    start = (start + len(piece)) % _POOL
    index = {each: name for name, shapes in zip(names, shards, strict=True) for each in shapes}
    _write_json(
        directory / "model.safetensors.index.json",
        {"metadata": {"total_size": size(config)}, "weight_map": index},
    )
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


def _shards(shapes: Shapes) -> Iterator[Shapes]:
    """The same tensors in order, in files of at most _SHARD_BYTES."""
    shard: Shapes = {}
    room = _SHARD_BYTES
    for name, shape in shapes.items():
        needed = _BYTES * prod(shape)
        if shard and needed > room:
            yield shard
            shard, room = {}, _SHARD_BYTES
        shard[name] = shape
        room -= needed
    yield shard


def _header(shapes: Shapes) -> bytes:
    """What a safetensors file begins with: the length of the rest, then JSON padded to 8 bytes."""
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
