"""The real calibration, by NVIDIA's modelopt in the environment of its own, end to end."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import converted
from support.architectures import CONFIGS

from build.trtllm import calibration
from build.trtllm.calibration import CalibrationText
from build.trtllm.convert import convert
from slipway.contract.recipe import Parallel

pytestmark = pytest.mark.skipif(
    not (calibration.ENVIRONMENT / ".ready").is_file(),
    reason="needs NVIDIA's modelopt: make setup-modelopt",
)


def test_a_model_is_calibrated_once_for_every_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibration, "KEPT", tmp_path / "kept")
    source, output = tmp_path / "checkpoint", tmp_path / "output"
    config = CONFIGS["qwen2.5-tied"]
    newer = {key: value for key, value in config.items() if key != "rope_theta"}
    newer["rope_parameters"] = {"rope_type": "default", "rope_theta": config["rope_theta"]}
    tensors = converted.write_checkpoint(source, newer, values=_small)
    text = CalibrationText(samples=2, sample_tokens=64)
    said = convert(source, output, "int8-sq", None, Parallel(tensor=2), "int8", text)
    assert "W8A8_SQ_PER_CHANNEL, the rest bfloat16, in 2 ranks, with scales for a KV cache in int8" in said
    shown = capfd.readouterr()
    assert shown.out == ""  # what modelopt prints is for its log
    assert [line.partition(",")[0] for line in shown.err.splitlines()] == [
        "Hashing the checkpoint",
        "Checking for NaN and Inf",
        "Loading the model",
        "Calibrating",
        "Quantizing the weights",
        "Converting",
    ]
    rank = load_file(output / "rank1.safetensors")
    prefix = "transformer.layers.1.mlp.fc."
    back = rank[f"{prefix}weight"] * rank[f"{prefix}weights_scaling_factor"][:, None]
    back = back * rank[f"{prefix}prequant_scaling_factor"].astype(np.float32)
    original = tensors["model.layers.1.mlp.gate_proj.weight"].astype(np.float32)[48:]
    assert np.abs(back - original).mean() < 0.02 * np.abs(original).mean()
    assert rank["transformer.layers.0.attention.kv_cache_scaling_factor"] > 0
    assert json.loads((output / "config.json").read_text())["quantization"]["kv_cache_quant_algo"] == "INT8"

    whole = tmp_path / "whole"
    convert(source, whole, "int8-sq", None, Parallel(), "int8", text)
    assert "Using the calibration of an earlier run" in capfd.readouterr().err
    assert np.array_equal(
        load_file(whole / "rank0.safetensors")[f"{prefix}weight"][48:], rank[f"{prefix}weight"]
    )


def _small(name: str, shape: tuple[int, ...]) -> np.ndarray:
    drawn = np.random.default_rng(len(name)).normal(0, 0.05, shape)
    return 1 + drawn if "norm" in name else drawn
