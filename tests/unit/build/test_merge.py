"""LoRA adapters put into their base: every fault named, every number rounded once."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file
from support import tiny_checkpoints as tiny
from support.adapters import ADAPTERS, CASES, write_base

from build.checkpoint import weights
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.merge import Merge, merge
from build.engine import build
from slipway.contract.errors import BuildError, CheckpointError, SlipwayError
from slipway.contract.manifest import Manifest

Q = "model.layers.1.self_attn.q_proj"
UP = "model.layers.0.mlp.up_proj"


def adapter(directory: Path, shapes: Mapping[str, tuple[int, int]], rank: int = 2, **config: Any) -> Path:
    """An adapter of modules with their [outputs, inputs], random numbers in it."""
    directory.mkdir(parents=True)
    values = {"peft_type": "LORA", "r": rank, "lora_alpha": 4, **config}
    (directory / "adapter_config.json").write_text(json.dumps(values))
    random = np.random.default_rng(len(shapes))
    matrices = {}
    for module, (outputs, inputs) in shapes.items():
        name = f"base_model.model.{module}"
        matrices[f"{name}.lora_A.weight"] = random.normal(0, 0.1, (rank, inputs)).astype(np.float32)
        matrices[f"{name}.lora_B.weight"] = random.normal(0, 0.1, (outputs, rank)).astype(np.float32)
    save_file(matrices, directory / "adapter_model.safetensors")
    return directory


def alter(directory: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    path = directory / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def added(directory: Path, module: str, scale: float = 2.0) -> np.ndarray:
    held = load_file(directory / "adapter_model.safetensors")
    first, second = (held[f"base_model.model.{module}.lora_{part}.weight"] for part in "AB")
    return (second * np.float32(scale)) @ first


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "base", shards=2)


def test_a_sum_is_rounded_once_to_the_bases_dtype_and_all_else_stays(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_PIECE", 700)  # some rows at a time
    tuned = adapter(tmp_path / "tuned", {Q: (64, 64), UP: (96, 64)})

    said = merge(base, [tuned], tmp_path / "merged")

    assert "2 tensors changed" in said
    before, after = Checkpoint.open(base), Checkpoint.open(tmp_path / "merged")
    assert after.weights.files == before.weights.files
    for name in before.weights.tensors:
        old, new = before.weights.read(name), after.weights.read(name)
        assert new.dtype == ml_dtypes.bfloat16
        if name in (f"{Q}.weight", f"{UP}.weight"):
            exact = old.astype(np.float32) + added(tuned, name.removesuffix(".weight"))
            old = exact.astype(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(new, old)
    assert after.eos_token_ids == before.eos_token_ids
    assert after.tokenizer.chat_template == before.tokenizer.chat_template


def test_a_second_adapter_goes_on_from_the_first(base: Path, tmp_path: Path) -> None:
    first = adapter(tmp_path / "first", {Q: (64, 64)})
    second = adapter(tmp_path / "second", {Q: (64, 64), UP: (96, 64)}, use_rslora=True, lora_alpha=8)

    merge(base, [first, second], tmp_path / "merged")

    old, new = (Checkpoint.open(path).weights.read(f"{Q}.weight") for path in (base, tmp_path / "merged"))
    exact = old.astype(np.float32) + added(first, Q) + added(second, Q, 8 / np.sqrt(2))
    np.testing.assert_array_equal(new, exact.astype(ml_dtypes.bfloat16))


def test_the_tokenizer_that_lies_beside_an_adapter_comes_along(tmp_path: Path) -> None:
    case = CASES["added tokens"]
    base = write_base(case, tmp_path / "base")
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        (tuned / file).write_bytes((ADAPTERS / "added-tokens" / file).read_bytes())
    tiny.write_tokenizer(tuned, extra=6, eos_token="<extra_1>")

    merge(base, [tuned], tmp_path / "merged")

    made = Checkpoint.open(tmp_path / "merged")
    assert made.tokenizer.largest_id == 263
    assert made.eos_token_ids == (257, 259)
    assert made.architecture.vocab_size == 272
    assert not made.architecture.tied


def _drop(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        del tensors[name]

    return change


def _set(name: str, value: np.ndarray) -> Callable[[dict[str, np.ndarray]], None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[name] = value

    return change


@pytest.mark.parametrize(
    ("config", "change", "words"),
    [
        ({"peft_type": "IA3"}, None, "peft_type IA3; only LORA is merged here"),
        ({"init_lora_weights": "pissa_niter_16"}, None, "training changed the base first"),
        ({"lora_bias": True}, None, "lora_bias"),
        ({"lora_alpha": "much"}, None, "wrong at lora_alpha"),
        (
            {"alpha_pattern": {"q_proj(": 4}},
            None,
            "'q_proj(' in alpha_pattern, which is not a regular expression",
        ),
        ({"r": 16}, None, "with rank 2, but adapter_config.json says 16; take both from one save"),
        ({"use_dora": True}, None, f"has no lora_magnitude_vector of {Q}"),
        ({}, dict.clear, "holds no tensors"),
        (
            {},
            _set(f"base_model.model.{Q}.lora_A.weight", np.zeros(0, np.float32)),
            "are [(0,), (64, 2)], not matrices",
        ),
        ({}, _drop(f"base_model.model.{Q}.lora_B.weight"), f"has no lora_B of {Q}"),
        (
            {},
            _set(f"base_model.model.{Q}.lora_A.weight", np.zeros((3, 64), np.float32)),
            "rank 3 and lora_B 2",
        ),
        (
            {"base_model_name_or_path": "meta/large"},
            _set(f"base_model.model.{Q}.lora_A.weight", np.zeros((2, 128), np.float32)),
            "in the base it is [64, 64]; it was trained on another model (meta/large)",
        ),
        (
            {},
            _set("base_model.model.model.layers.9.mlp.gate.weight", np.zeros((2, 2), np.float32)),
            "layers.9.mlp.gate.weight, and the base has no tensor for it",
        ),
        (
            {},
            _set(f"base_model.model.{Q}.lora_A.weight", np.full((2, 64), np.nan, np.float32)),
            f"{Q}.weight with its adapter holds NaN",
        ),
        (
            {},
            _set("base_model.model.model.embed_tokens.weight", np.zeros((300, 32), np.float32)),
            "has shape [300, 32]",
        ),
    ],
)
def test_what_cannot_be_merged_is_named_and_nothing_is_written(
    base: Path,
    tmp_path: Path,
    config: dict[str, Any],
    change: Callable[[dict[str, np.ndarray]], None] | None,
    words: str,
) -> None:
    tuned = adapter(tmp_path / "tuned", {Q: (64, 64)}, **config)
    if change:
        alter(tuned, change)
    with pytest.raises(CheckpointError) as refusal:
        merge(base, [tuned], tmp_path / "merged")
    assert words in str(refusal.value)
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("folder", "trained_on", "noted"),
    [
        ("Llama-3-8B", "meta-llama/Llama-3-8B", False),
        ("models--meta-llama--Llama-3-8B/snapshots/8cde5c", "meta-llama/Llama-3-8B", False),
        ("Llama-3-8B-Instruct", "meta-llama/Llama-3-8B", True),
        ("base", None, False),
    ],
)
def test_a_base_of_another_name_than_the_adapter_was_trained_on_is_said(
    folder: str, trained_on: str | None, noted: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny.write(tmp_path / folder)
    tuned = adapter(tmp_path / "tuned", {Q: (64, 64)}, base_model_name_or_path=trained_on)
    merge(base, [tuned], tmp_path / "merged")
    assert (
        f"was trained on {trained_on}, and no file says that {base} is this model" in capsys.readouterr().err
    ) == noted


def test_what_is_no_adapter_or_a_pickle_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not an adapter"):
        Merge.open(base, [base])
    tuned = adapter(tmp_path / "tuned", {Q: (64, 64)})
    (tuned / "adapter_model.safetensors").rename(tuned / "adapter_model.bin")
    with pytest.raises(CheckpointError, match="save the adapter as safetensors"):
        Merge.open(base, [tuned])


def test_an_adapter_is_read_from_its_file_whatever_lies_beside_it(base: Path, tmp_path: Path) -> None:
    tuned = adapter(tmp_path / "tuned", {Q: (64, 64)})
    tiny.write_weights(tuned, tiny.tensors())
    assert Merge.open(base, [tuned]).adapters[0].weights.files == ["adapter_model.safetensors"]


def test_a_folder_that_exists_is_left_alone(base: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(BuildError, match="exists already"):
        merge(base, [adapter(tmp_path / "tuned", {Q: (64, 64)})], tmp_path / "mine")


def test_an_engine_of_a_recipe_with_adapters_is_built_anew_when_they_change(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = adapter(tmp_path / "tuned", {Q: (64, 64)})
    recipe = {"name": "tiny", "checkpoint": str(base), "adapters": [str(tuned)], "quantization": "none"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**recipe, "target": "tensorrt-llm-llmapi"}))

    def built() -> str:
        return build(tmp_path / "tiny.yaml", None, tmp_path / "engines", tmp_path / "repository", force=False)

    engine = tmp_path / "engines" / "tiny"
    assert "is ready" in built()
    merge(base, [tuned], tmp_path / "merged")
    for name in Checkpoint.open(engine).weights.tensors:
        one, other = (Checkpoint.open(path).weights.read(name) for path in (engine, tmp_path / "merged"))
        np.testing.assert_array_equal(one, other)
    assert "adapters/0/adapter_model.safetensors" in Manifest.read(engine).source
    assert "up to date" in built()
    alter(tuned, _set(f"base_model.model.{Q}.lora_B.weight", np.ones((64, 2), np.float32)))
    built()
    assert "the checkpoint changed" in capsys.readouterr().err
    alter(tuned, _set(f"base_model.model.{Q}.lora_B.weight", np.full((64, 2), np.inf, np.float32)))
    whole = Manifest.read(engine)
    with pytest.raises(SlipwayError, match="NaN or infinity"):
        built()
    whole.verify(engine)  # the engine before is as it was
