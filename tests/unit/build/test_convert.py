import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from support import converted
from support import tiny_checkpoints as tiny
from support.architectures import CONFIGS

from build.trtllm.convert import convert
from slipway.contract.errors import BuildError, CheckpointError, SlipwayError
from slipway.contract.quantization import Quantization
from slipway.contract.recipe import Dtype, Parallel

LLAMA = CONFIGS["llama-3.1"]
ONE = Parallel()


@pytest.mark.parametrize("parallel", [ONE, Parallel(tensor=2, pipeline=1), Parallel(tensor=4, pipeline=2)])
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_converted_checkpoint_reads_back_bit_by_bit(kind: str, parallel: Parallel, tmp_path: Path) -> None:
    tensors = converted.write_checkpoint(tmp_path / "checkpoint", CONFIGS[kind])
    convert(tmp_path / "checkpoint", tmp_path / "output", "none", None, parallel)
    tensors.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"])
    back = converted.read_back(tmp_path / "output")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert np.array_equal(back[name], tensor), name


def _config(output: Path) -> dict[str, Any]:
    return dict(json.loads((output / "config.json").read_text()))


@pytest.mark.parametrize("kind", ["llama-3", "llama-3.1", "deepseek-coder"])
def test_both_spellings_of_the_rope_base_become_one(kind: str, tmp_path: Path) -> None:
    older = CONFIGS[kind]
    newer = {key: value for key, value in older.items() if key not in ("rope_theta", "rope_scaling")}
    scaling = dict(older.get("rope_scaling", {"rope_type": "default"}))
    newer["rope_parameters"] = {
        "rope_type": scaling.pop("type", "default"),
        **scaling,
        "rope_theta": older["rope_theta"],
    }
    for name, config in (("older", older), ("newer", newer)):
        converted.write_checkpoint(tmp_path / name, config)
        convert(tmp_path / name, tmp_path / f"{name}-output", "none", None, ONE)
    read = _config(tmp_path / "newer-output")
    assert read == _config(tmp_path / "older-output")
    assert read["rotary_base"] == older["rope_theta"]


def test_qwen2_says_what_its_loader_asks_for(tmp_path: Path) -> None:
    # tensorrt_llm/models/qwen/config.py; NVIDIA's exporter cannot show these without a GPU.
    converted.write_checkpoint(tmp_path / "checkpoint", CONFIGS["qwen2"])
    convert(tmp_path / "checkpoint", tmp_path / "output", "none", None, ONE)
    config = _config(tmp_path / "output")
    assert (config["architecture"], config["qwen_type"]) == ("Qwen2ForCausalLM", "qwen2")
    assert config["attn_bias"] is True
    assert config["mlp_bias"] is False
    assert config["rotary_base"] == 1000000.0
    assert config["norm_epsilon"] == 1e-6
    assert config["seq_length"] == 8192


def test_an_engine_cannot_outgrow_a_sliding_window(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    converted.write_checkpoint(tmp_path / "checkpoint", CONFIGS["mistral"] | {"sliding_window": 128})
    convert(tmp_path / "checkpoint", tmp_path / "output", "none", None, ONE)
    assert _config(tmp_path / "output")["max_position_embeddings"] == 128
    assert "attends to 128 tokens" in capsys.readouterr().err


# --- quantization ---

WIDE = LLAMA | {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1}


@pytest.mark.parametrize(("quantization", "algorithm"), [("int8", "W8A16"), ("int4", "W4A16")])
def test_quantization_is_left_to_the_gpu_that_runs_it(
    quantization: Quantization, algorithm: str, tmp_path: Path
) -> None:
    converted.write_checkpoint(tmp_path / "checkpoint", WIDE)
    plain, output = tmp_path / "none", tmp_path / "output"
    convert(tmp_path / "checkpoint", plain, "none", None, Parallel(tensor=2))
    said = convert(tmp_path / "checkpoint", output, quantization, None, Parallel(tensor=2))
    assert algorithm in said
    assert _config(output)["quantization"] == {"quant_algo": algorithm, "kv_cache_quant_algo": None}
    for rank in ("rank0.safetensors", "rank1.safetensors"):
        assert (output / rank).read_bytes() == (plain / rank).read_bytes()


@pytest.mark.parametrize(
    ("intermediate_size", "parts", "words"),
    [
        (544, 1, "mlp.fc.weight is [544, 256] on each of 1 tensor-parallel ranks"),
        (320, 2, "mlp.fc.weight is [160, 256] on each of 2 tensor-parallel ranks"),
    ],
)
def test_what_weight_only_kernels_cannot_take_is_refused(
    intermediate_size: int, parts: int, words: str, tmp_path: Path
) -> None:
    converted.write_checkpoint(tmp_path / "checkpoint", WIDE | {"intermediate_size": intermediate_size})
    message = _refused(tmp_path, "int8", Parallel(tensor=parts))
    assert words in message
    assert "multiples of 64" in message
    assert "--quantization none" in message


def test_a_split_that_leaves_whole_tiles_is_quantized(tmp_path: Path) -> None:
    # qkv [192, 256], dense [256, 64], fc [128, 256]; the norms and the vocabulary do not count.
    converted.write_checkpoint(tmp_path / "checkpoint", WIDE)
    assert "W4A16" in convert(tmp_path / "checkpoint", tmp_path / "output", "int4", None, Parallel(tensor=4))


# --- sharing ---


def _refused(
    tmp_path: Path, quantization: Quantization = "none", parallel: Parallel = ONE, dtype: Dtype | None = None
) -> str:
    """The sentence, after a look that not even the folder to write in was made."""
    with pytest.raises(SlipwayError) as refused:
        convert(tmp_path / "checkpoint", tmp_path / "new" / "output", quantization, dtype, parallel)
    assert not (tmp_path / "new").exists()
    message = str(refused.value)
    assert message.endswith("."), message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("changes", "parallel", "words"),
    [
        (
            {},
            Parallel(tensor=3),
            ["tensor parallelism of 3", "4 attention heads", "3 ranks", "give 1, 2 or 4."],
        ),
        (
            {"num_attention_heads": 12, "num_key_value_heads": 3, "head_dim": 16},
            Parallel(tensor=2),
            ["3 heads for keys and values", "2 ranks", "give 1, 3, 6 or 12."],
        ),
        ({"intermediate_size": 98}, Parallel(tensor=4), ["intermediate_size 98", "4 parts", "give 1 or 2."]),
        ({}, Parallel(tensor=1, pipeline=3), ["pipeline parallelism of 3", "2 layers", "give 1 or 2."]),
        (
            {"num_attention_heads": 1, "num_key_value_heads": 1},
            Parallel(tensor=2),
            ["1 attention heads", "give 1."],
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_numbers(
    changes: dict[str, Any], parallel: Parallel, words: list[str], tmp_path: Path
) -> None:
    converted.write_checkpoint(tmp_path / "checkpoint", LLAMA | changes)
    message = _refused(tmp_path, parallel=parallel)
    assert all(word in message for word in words), message


# --- numbers ---


def test_the_dtype_follows_the_checkpoint_unless_one_is_given(tmp_path: Path) -> None:
    for dtype, expected in (
        (np.float16, "float16"),
        (np.float32, "bfloat16"),
        (ml_dtypes.bfloat16, "bfloat16"),
    ):
        source = tmp_path / np.dtype(dtype).name
        tensors = converted.write_checkpoint(source, LLAMA, dtype)
        for given in (None, "float16"):
            output = tmp_path / f"{source.name}-{given}"
            convert(source, output, "none", given, ONE)  # type: ignore[arg-type]
            written = given or expected
            assert _config(output)["dtype"] == written
            norm = load_file(output / "rank0.safetensors")["transformer.ln_f.weight"]
            # NumPy and ml_dtypes round to nearest even, as torch does.
            assert np.array_equal(norm, tensors["model.norm.weight"].astype(written))


def _spoil(folder: Path, name: str, value: float, dtype: Any) -> None:
    shutil.rmtree(folder)
    tensors = converted.write_checkpoint(folder, LLAMA, dtype)
    tensors[name].flat[-1] = value
    tiny.write_weights(folder, tensors, shards=2)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_a_checkpoint_with_nan_leaves_the_one_before_it(value: float, dtype: Any, tmp_path: Path) -> None:
    source, output = tmp_path / "checkpoint", tmp_path / "output"
    converted.write_checkpoint(source, LLAMA)
    convert(source, output, "none", None, ONE)
    before = (output / "rank0.safetensors").read_bytes()
    name = "model.layers.1.mlp.down_proj.weight"
    _spoil(source, name, value, dtype)
    for given in ("bfloat16", "float16"):
        with pytest.raises(CheckpointError, match=f"{name} holds NaN or infinity"):
            convert(source, output, "none", given, ONE)  # type: ignore[arg-type]
    assert (output / "rank0.safetensors").read_bytes() == before
    assert sorted(path.name for path in output.parent.iterdir()) == [".output.lock", "checkpoint", "output"]


def test_a_number_that_float16_cannot_hold_names_the_dtype_that_can(tmp_path: Path) -> None:
    source = tmp_path / "checkpoint"
    converted.write_checkpoint(source, LLAMA)
    _spoil(source, "model.norm.weight", -98304.0, ml_dtypes.bfloat16)
    with pytest.raises(CheckpointError, match=r"model.norm.weight holds 9.83e\+04, .*--dtype bfloat16"):
        convert(source, tmp_path / "output", "none", "float16", ONE)
    assert not (tmp_path / "output").exists()


def test_a_number_at_the_end_of_fp32_rounds_to_infinity_and_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "checkpoint"
    converted.write_checkpoint(source, LLAMA)
    _spoil(source, "model.norm.weight", float(np.finfo(np.float32).max), np.float32)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight holds NaN or infinity"):
        convert(source, tmp_path / "output", "none", None, ONE)


# --- the place ---


def test_a_folder_with_anything_else_in_it_is_never_replaced(tmp_path: Path) -> None:
    source = tmp_path / "checkpoint"
    converted.write_checkpoint(source, LLAMA)
    with pytest.raises(BuildError, match=r"holds config\.json, so it is not a converted checkpoint"):
        convert(source, source, "none", None, ONE)
    output = tmp_path / "output"
    convert(source, output, "none", None, Parallel(tensor=2))
    convert(source, output, "none", None, ONE)
    assert sorted(path.name for path in output.iterdir()) == ["config.json", "rank0.safetensors"]
    (output / "notes.txt").write_text("mine")
    with pytest.raises(BuildError, match=r"holds notes.txt"):
        convert(source, output, "none", None, ONE)
    with pytest.raises(BuildError, match="is a file"):
        convert(source, output / "notes.txt", "none", None, ONE)
    assert (output / "notes.txt").read_text() == "mine"


def test_a_full_disk_is_found_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    converted.write_checkpoint(tmp_path / "checkpoint", LLAMA)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 8, 10_000))
    message = _refused(tmp_path)
    assert "takes 0 MB" in message
    assert "has 0 MB free" in message


def test_memory_depends_neither_on_the_model_nor_on_its_largest_tensor(tmp_path: Path) -> None:
    config = LLAMA | {"vocab_size": 16384, "hidden_size": 1024, "num_attention_heads": 8}
    converted.write_checkpoint(tmp_path / "checkpoint", config, np.float16, lambda _, shape: np.zeros(shape))
    tracemalloc.start()
    try:
        convert(tmp_path / "checkpoint", tmp_path / "output", "none", None, Parallel(tensor=2))
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < 8 << 20  # a quarter of the embedding, an eighth of the model
