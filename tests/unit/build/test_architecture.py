"""What config.json says of a model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import tiny_checkpoints as tiny
from support.checkpoint_refusal import refusal

from build.checkpoint.architecture import Architecture
from build.checkpoint.checkpoint import Checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "model")


def test_qwen2_has_biases_on_q_k_and_v_alone(folder: Path) -> None:
    tiny.write_config(folder, architectures=["Qwen2ForCausalLM"])
    assert "has no tensor model.layers.0.self_attn.q_proj.bias" in refusal(folder)
    weights = tiny.tensors()
    for layer in range(2):
        for projection, rows in (("q", 64), ("k", 32), ("v", 32)):
            weights[f"model.layers.{layer}.self_attn.{projection}_proj.bias"] = np.zeros(rows, np.float16)
    tiny.write_weights(folder, weights)
    Checkpoint.open(folder)


def test_head_dim_may_differ_from_hidden_size_over_heads(folder: Path) -> None:
    tiny.write_config(folder, head_dim=32)
    assert "q_proj.weight has shape [64, 64]" in refusal(folder)


def test_an_unknown_architecture_hears_which_are_known(folder: Path) -> None:
    tiny.write_config(folder, architectures=["GPTNeoXForCausalLM"])
    message = refusal(folder)
    assert "GPTNeoXForCausalLM" in message
    assert "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM" in message


def test_a_config_without_an_architecture_is_refused(folder: Path) -> None:
    tiny.write_config(folder, architectures=None)
    assert "the architecture (none)" in refusal(folder)


def test_a_quantized_checkpoint_is_refused(folder: Path) -> None:
    tiny.write_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert "quantized already (gptq)" in refusal(folder)
    tiny.write_config(folder, quantization_config="awq")
    assert "quantized already (awq)" in refusal(folder)


def test_a_checkpoint_that_was_quantized_once_and_is_no_more_opens(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": None}))
    Checkpoint.open(folder)


def test_a_wrong_config_value_is_named(folder: Path) -> None:
    tiny.write_config(folder, num_hidden_layers="many")
    assert "config.json is wrong at num_hidden_layers" in refusal(folder)


def test_another_activation_is_refused(folder: Path) -> None:
    tiny.write_config(folder, hidden_act="gelu")
    assert "hidden_act 'gelu'" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "is missing"), ("{", "not valid JSON"), ("[]", "not a")]
)
def test_a_config_that_cannot_be_read_is_refused(folder: Path, content: str | None, words: str) -> None:
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    assert words in refusal(folder)


def test_a_sliding_window_bounds_the_context(folder: Path) -> None:
    tiny.write_config(folder, architectures=["MistralForCausalLM"], sliding_window=128)
    checkpoint = Checkpoint.open(folder)
    assert checkpoint.architecture.context == 128
    assert "128 tokens (sliding_window)" in checkpoint.hints()[0]


@pytest.mark.parametrize(
    ("changes", "context"),
    [
        ({"use_sliding_window": False}, 256),
        ({}, 256),  # transformers takes a missing use_sliding_window for false
        (
            {"use_sliding_window": True},
            256,
        ),  # max_window_layers is 28 by default
        ({"use_sliding_window": True, "max_window_layers": 2}, 256),
        ({"use_sliding_window": True, "max_window_layers": 1}, 128),
        ({"use_sliding_window": True, "max_window_layers": 0}, 128),
        ({"use_sliding_window": True, "max_window_layers": 0, "layer_types": ["full_attention"] * 2}, 256),
        ({"use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]}, 128),
        ({"use_sliding_window": True, "max_window_layers": 0, "sliding_window": None}, 256),
    ],
)
def test_a_window_of_qwen2_bounds_the_context_where_a_layer_slides(
    folder: Path, changes: dict[str, Any], context: int
) -> None:
    tiny.write_config(folder, **{"architectures": ["Qwen2ForCausalLM"], "sliding_window": 128, **changes})
    assert Architecture.read(folder / "config.json").context == context
