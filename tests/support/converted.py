"""Tiny checkpoints to convert, and a second reader of converted ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from support import tiny_checkpoints as tiny
from support.architectures import numbers
from support.tiny_checkpoints import Tensor

from build.checkpoint.architecture import Architecture


def write_checkpoint(
    directory: Path,
    config: dict[str, Any],
    dtype: npt.DTypeLike = ml_dtypes.bfloat16,
    values: Callable[[str, tuple[int, ...]], Tensor] = numbers,
) -> dict[str, Tensor]:
    """Write a checkpoint of `config`, filled with `values`, and return its tensors."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    shapes = Architecture.read(directory / "config.json").tensors()
    tensors = {name: values(name, shape).astype(dtype) for name, shape in shapes.items()}
    tiny.write_weights(directory, tensors, shards=2)
    tiny.write_tokenizer(directory)
    return tensors


def read_back(directory: Path) -> dict[str, Tensor]:
    """The tensors of all ranks, joined, under transformers' names."""
    config = json.loads((directory / "config.json").read_text())
    parts, stages = config["mapping"]["tp_size"], config["mapping"]["pp_size"]
    ranks = [load_file(directory / f"rank{rank}.safetensors") for rank in range(parts * stages)]
    head, kv_heads = config["head_size"], config["num_key_value_heads"]
    query_rows = config["num_attention_heads"] // parts * head
    key_rows = max(1, kv_heads // parts) * head
    copies = max(1, parts // kv_heads)

    def whole(stage: int, name: str, axis: int) -> Tensor:
        held: list[Tensor] = [ranks[stage * parts + part][name] for part in range(parts)]
        if axis == -1:
            assert all(np.array_equal(held[0], other) for other in held)
            return held[0]
        joined: Tensor = np.concatenate(held, axis)
        return joined

    vocabulary = config["vocab_size"]
    last = stages - 1
    padded = {
        "model.embed_tokens.weight": whole(0, "transformer.vocab_embedding.weight", 0),
        "lm_head.weight": whole(last, "lm_head.weight", 0),
    }
    assert not any(tensor[vocabulary:].any() for tensor in padded.values())
    tensors = {name: tensor[:vocabulary] for name, tensor in padded.items()}
    tensors["model.norm.weight"] = whole(last, "transformer.ln_f.weight", -1)
    per_stage = config["num_hidden_layers"] // stages
    for layer in range(config["num_hidden_layers"]):
        stage, index = divmod(layer, per_stage)
        source, target = f"transformer.layers.{index}.", f"model.layers.{layer}."
        for kind in ("weight", "bias"):
            if f"{source}attention.qkv.{kind}" in ranks[stage * parts]:
                held = [ranks[stage * parts + part][f"{source}attention.qkv.{kind}"] for part in range(parts)]
                cuts = [np.split(rows, [query_rows, query_rows + key_rows]) for rows in held]
                for place, letter in enumerate("qkv"):
                    chosen = cuts if letter == "q" else cuts[::copies]
                    tensors[f"{target}self_attn.{letter}_proj.{kind}"] = np.concatenate(
                        [cut[place] for cut in chosen]
                    )
            for theirs, ours, axis in (
                ("attention.dense", "self_attn.o_proj", 1),
                ("mlp.fc", "mlp.gate_proj", 0),
                ("mlp.gate", "mlp.up_proj", 0),
                ("mlp.proj", "mlp.down_proj", 1),
            ):
                if f"{source}{theirs}.{kind}" in ranks[stage * parts]:
                    over = -1 if kind == "bias" and axis == 1 else axis
                    tensors[f"{target}{ours}.{kind}"] = whole(stage, f"{source}{theirs}.{kind}", over)
        for theirs, ours in (
            ("input_layernorm", "input_layernorm"),
            ("post_layernorm", "post_attention_layernorm"),
        ):
            tensors[f"{target}{ours}.weight"] = whole(stage, f"{source}{theirs}.weight", -1)
    return tensors
