"""Calibrated checkpoints against those of NVIDIA's exporter (golden/modelopt_calibrated.py).

What the calibration left is kept there, as for a second run; how it is shared out is Slipway's.
"""

import hashlib
import json
import lzma
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from support import converted, trtllm_stand_in
from support.architectures import CALIBRATED, coarse_numbers
from support.paths import GOLDEN

from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.weights import ALL_DTYPES
from build.engine import build
from build.trtllm import calibration
from build.trtllm.calibration import Calibration, CalibrationText
from build.trtllm.convert import convert
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Parallel

FOLDER = GOLDEN / "modelopt_calibrated"
EXPORTS = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in CALIBRATED}
NAMES = {"BF16": "bfloat16", "F32": "float32", "I8": "int8", "F8_E4M3": "float8_e4m3fn"}
SPLITS = [(name, split) for name, exports in EXPORTS.items() for split in exports]


def _calibrated(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A checkpoint in `folder`/checkpoint that was calibrated before; returns its tensors."""
    config, quantization, cache = CALIBRATED[name]
    monkeypatch.setattr(calibration, "KEPT", folder / "kept")
    monkeypatch.setattr(calibration, "ENVIRONMENT", folder / "not-there")
    tensors = converted.write_checkpoint(folder / "checkpoint", config, values=coarse_numbers)
    checkpoint = Checkpoint.open(folder / "checkpoint")
    kept = Calibration.of(checkpoint, quantization, cache, "bfloat16", CalibrationText()).directory  # type: ignore[arg-type]
    kept.mkdir(parents=True)
    packed = (FOLDER / f"{name}.safetensors.xz").read_bytes()
    (kept / "calibrated.safetensors").write_bytes(lzma.decompress(packed))
    return tensors


def _convert(name: str, parallel: Parallel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Returns the checkpoint's tensors, fp32; the converted ones are in `folder`/output."""
    _, quantization, cache = CALIBRATED[name]
    tensors = _calibrated(name, folder, monkeypatch)
    convert(folder / "checkpoint", folder / "output", quantization, None, parallel, cache)  # type: ignore[arg-type]
    return {key: tensor.astype(np.float32) for key, tensor in tensors.items()}


def _read(path: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Tensors with their dtypes, by the format's words alone."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__")
    found = {}
    for name, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        dtype = np.dtype(ALL_DTYPES[entry["dtype"]])
        assert first % dtype.itemsize == 0, f"torch cannot map {name}"
        found[name] = entry["dtype"], np.frombuffer(data[first:last], dtype).reshape(entry["shape"])
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


@pytest.mark.parametrize(("name", "split"), SPLITS)
def test_every_rank_is_the_one_that_nvidias_exporter_writes(
    name: str, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = EXPORTS[name][split]
    _convert(name, Parallel(tensor=int(split[2]), pipeline=int(split[-1])), tmp_path, monkeypatch)
    output = tmp_path / "output"
    assert len(exported["ranks"]) == len(list(output.glob("rank*.safetensors")))
    for rank, tensors in enumerate(exported["ranks"]):
        assert {
            key: hashlib.sha256(f"{list(held.shape)} {NAMES[dtype]} ".encode() + held.tobytes()).hexdigest()[
                :12
            ]
            for key, (dtype, held) in _read(output / f"rank{rank}.safetensors").items()
        } == tensors

    theirs, ours = exported["config"], json.loads((output / "config.json").read_text())
    shared = ours.keys() & theirs.keys()
    assert {key: ours[key] for key in shared} == {key: theirs[key] for key in shared}
    assert {"mapping", "quantization"} <= shared


def _sources(config: dict[str, Any], rank: int) -> dict[str, list[tuple[str, slice, slice]]]:
    """What each matrix of the only layer is made of on one of two ranks: a name, rows and columns."""
    everything = slice(None)
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]

    def half(count: int) -> slice:
        return slice(rank * count // 2, (rank + 1) * count // 2)

    queries, keys = (half(config[f"num_{kind}_heads"] * size) for kind in ("attention", "key_value"))
    inner = half(config["intermediate_size"])
    return {
        "attention.qkv": [
            ("self_attn.q_proj", queries, everything),
            ("self_attn.k_proj", keys, everything),
            ("self_attn.v_proj", keys, everything),
        ],
        "attention.dense": [("self_attn.o_proj", everything, queries)],
        "mlp.fc": [("mlp.gate_proj", inner, everything)],
        "mlp.gate": [("mlp.up_proj", inner, everything)],
        "mlp.proj": [("mlp.down_proj", everything, inner)],
    }


@pytest.mark.parametrize("name", [name for name in CALIBRATED if CALIBRATED[name][1] != "none"])
def test_each_rank_unpacked_and_rescaled_is_its_part_of_the_checkpoint(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, quantization, _ = CALIBRATED[name]
    tensors = _convert(name, Parallel(tensor=2), tmp_path, monkeypatch)
    for rank in range(2):
        held = {key: array for key, (_, array) in _read(tmp_path / f"output/rank{rank}.safetensors").items()}
        for target, parts in _sources(config, rank).items():
            prefix = f"transformer.layers.0.{target}."
            original = np.concatenate(
                [tensors[f"model.layers.0.{source}.weight"][rows, columns] for source, rows, columns in parts]
            )
            weight, scale = held[f"{prefix}weight"], held[f"{prefix}weights_scaling_factor"]
            if quantization == "int4-awq":
                low, high = (weight << 4) >> 4, weight >> 4  # of signed bytes, so the sign spreads
                weight = np.stack([low, high], axis=1).reshape(-1, weight.shape[1])
                scale = np.repeat(scale, 128, axis=1)
            elif quantization == "int8-sq":
                scale = scale[:, None]
            smoothing = held.get(f"{prefix}prequant_scaling_factor", np.ones(1)).astype(np.float32)
            error = np.abs(weight.astype(np.float32) * scale * smoothing - original)
            # Half a step, of fp8 a sixteenth of the number; bfloat16 rounded what was smoothed before.
            step = np.abs(original) / 8 + scale if quantization == "fp8" else scale * smoothing
            assert (error <= 0.6 * step + np.abs(original) / 64).all(), f"{name} {target}"
            assert error.mean() < 0.3 * np.abs(original).mean(), f"{name} {target}"


def test_heads_that_several_ranks_need_are_repeated_with_their_scales(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # NVIDIA's exporter refuses it for int8-sq; 2 heads of 16 for keys and values, 4 ranks.
    _convert("llama-3.2-int8-sq", Parallel(tensor=4), tmp_path, monkeypatch)
    ranks = [_read(tmp_path / f"output/rank{rank}.safetensors") for rank in range(4)]
    for what in ("weight", "weights_scaling_factor"):
        rows = [tensors[f"transformer.layers.1.attention.qkv.{what}"][1] for tensors in ranks]
        assert [len(held) for held in rows] == [48] * 4
        assert np.array_equal(rows[0][16:], rows[1][16:])
        assert np.array_equal(rows[2][16:], rows[3][16:])
        assert not np.array_equal(rows[1][16:], rows[2][16:])
        assert not np.array_equal(rows[0][:16], rows[1][:16])


def test_an_lm_head_that_is_the_embedding_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SmoothQuant once scaled one of both (issue 2677 of NVIDIA/TensorRT-LLM).
    tensors = _convert("llama-3.2-int8-sq", Parallel(), tmp_path, monkeypatch)
    held = _read(tmp_path / "output/rank0.safetensors")
    for name in ("lm_head.weight", "transformer.vocab_embedding.weight"):
        assert held[name][1].dtype == ml_dtypes.bfloat16
        assert np.array_equal(held[name][1].astype(np.float32), tensors["model.embed_tokens.weight"])


def test_an_engine_is_built_from_a_calibration_that_was_made_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In NVIDIA's container, which has no environment for modelopt.
    _calibrated("llama-fp8", tmp_path, monkeypatch)
    (tmp_path / "container").mkdir()
    environment = trtllm_stand_in.write(tmp_path / "container")
    monkeypatch.setenv("PATH", environment["PATH"])
    monkeypatch.syspath_prepend(environment["PYTHONPATH"])
    recipe = {"name": "tiny", "checkpoint": str(tmp_path / "checkpoint"), "target": "tensorrt-llm"}
    recipe |= {"quantization": "fp8", "dtype": "bfloat16", "kv_cache": {"quantization": "fp8"}}
    (tmp_path / "tiny.yaml").write_text(json.dumps(recipe))
    build(tmp_path / "tiny.yaml", None, tmp_path / "engines", tmp_path / "repository", force=False)
    quantization = json.loads((tmp_path / "engines" / "tiny" / "config.json").read_text())[
        "pretrained_config"
    ]["quantization"]
    assert (quantization["quant_algo"], quantization["kv_cache_quant_algo"]) == ("FP8", "FP8")
    assert Manifest.read(tmp_path / "engines" / "tiny").method == "FP8 by modelopt"
