import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from support import tiny_checkpoints as tiny
from support.checkpoint_refusal import refusal

from build.checkpoint.checkpoint import Checkpoint
from slipway.contract.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "model")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "model", shards=3)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_whole_checkpoint_opens_and_hands_out_each_tensor(tmp_path: Path, shards: int) -> None:
    checkpoint = Checkpoint.open(tiny.write(tmp_path / "model", shards))
    for name, expected in tiny.tensors().items():
        read = checkpoint.weights.read(name)
        assert read.dtype == ml_dtypes.bfloat16
        assert np.array_equal(read, expected)
    checkpoint.check_finite()
    assert checkpoint.hints() == []


def test_parameters_are_counted_once_when_embeddings_are_tied(folder: Path) -> None:
    weights = tiny.tensors()
    count = sum(array.size for array in weights.values())
    assert Checkpoint.open(folder).parameters == count
    tiny.write_weights(folder, {**weights, "lm_head.weight": weights["model.embed_tokens.weight"]})
    assert Checkpoint.open(folder).parameters == count


def test_the_sources_of_an_engine_are_the_files_that_were_read(sharded: Path) -> None:
    (sharded / "README.md").write_text("not read")
    sources = set(Checkpoint.open(sharded).sources)
    assert sources == {path.name for path in sharded.iterdir()} - {"README.md"}


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / "model-00002-of-00003.safetensors").unlink()
    message = refusal(sharded)
    assert "model-00002-of-00003.safetensors is missing" in message
    assert "copy or download it again" in message


def test_an_index_that_places_a_tensor_elsewhere_is_refused(sharded: Path) -> None:
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["model.norm.weight"] = "model-00001-of-00003.safetensors"
    path.write_text(json.dumps(index))
    assert "says that model.norm.weight is in model-00001-of-00003.safetensors, which" in refusal(sharded)


def test_a_tensor_that_the_index_leaves_out_is_refused(sharded: Path) -> None:
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["weight_map"]["model.norm.weight"]
    path.write_text(json.dumps(index))
    assert "holds model.norm.weight, which model.safetensors.index.json does not list" in refusal(sharded)


def test_shards_without_an_index_ask_for_it(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    assert "3 safetensors files" in refusal(sharded)


def test_two_saves_in_one_folder_are_refused(sharded: Path) -> None:
    # save_pretrained leaves either beside the other, and transformers reads model.safetensors.
    tiny.write_weights(sharded, tiny.tensors())
    assert "two saves in one folder; remove the one you do not want" in refusal(sharded)


def test_an_index_may_name_one_file_and_others_may_lie_beside_it(folder: Path) -> None:
    save_file({"tok_embeddings.weight": np.zeros(1, np.float32)}, folder / "consolidated.safetensors")
    assert Checkpoint.open(folder).weights.files == ["model.safetensors"]
    index = {"weight_map": dict.fromkeys(tiny.tensors(), "model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert Checkpoint.open(folder).weights.files == ["model.safetensors", "model.safetensors.index.json"]


def test_an_index_without_a_map_is_refused(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text("{}")
    assert "has no weight_map" in refusal(sharded)


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_a_file_that_was_cut_off_is_named(folder: Path, left: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    assert f"{path} is cut off or damaged" in refusal(folder)


def test_a_git_lfs_pointer_is_recognised(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "git lfs pull" in refusal(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickles_are_refused_because_they_run_code(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    message = refusal(folder)
    assert f"{name} is a pickle" in message
    assert "runs any code that is in it" in message


def test_a_folder_without_weights_says_what_a_checkpoint_is(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds no *.safetensors" in refusal(folder)


def test_quantized_tensors_are_refused(folder: Path) -> None:
    weights = tiny.tensors()
    name = "model.layers.0.mlp.up_proj.weight"
    tiny.write_weights(folder, {**weights, name: weights[name].astype(np.int8)})
    assert f"{name} is I8; supported are BF16, F16, F32" in refusal(folder)


def test_a_shape_that_the_config_does_not_imply_is_refused(folder: Path) -> None:
    tiny.write_config(folder, intermediate_size=128)
    message = refusal(folder)
    assert "model.layers.0.mlp.gate_proj.weight has shape [96, 64]" in message
    assert "implies [128, 64]" in message


def test_rows_that_the_config_does_not_know_name_vocab_size(folder: Path) -> None:
    tiny.write_config(folder, vocab_size=260)
    message = refusal(folder)
    assert "model.embed_tokens.weight has shape [264, 64]" in message
    assert "set vocab_size to the number of rows" in message


def test_a_missing_tensor_is_named(folder: Path) -> None:
    weights = tiny.tensors()
    del weights["model.layers.1.self_attn.o_proj.weight"]
    tiny.write_weights(folder, weights)
    assert "has no tensor model.layers.1.self_attn.o_proj.weight" in refusal(folder)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_model_that_was_saved_wrapped_says_how_to_save_it(folder: Path, prefix: str) -> None:
    tiny.write_weights(folder, {f"{prefix}{name}": tensor for name, tensor in tiny.tensors().items()})
    message = refusal(folder)
    assert f"it has {prefix}model.embed_tokens.weight, so the model was saved inside a wrapper" in message


def test_an_untied_model_without_lm_head_hears_of_tying(folder: Path) -> None:
    tiny.write_config(folder, tie_word_embeddings=False)
    message = refusal(folder)
    assert "has no tensor lm_head.weight" in message
    assert "tie_word_embeddings" in message


def test_an_output_layer_that_is_not_the_embedding_it_should_be_is_refused(folder: Path) -> None:
    # transformers 5 would answer with it, older ones with the embedding.
    trained = {"lm_head.weight": tiny.tensors()["model.embed_tokens.weight"][::-1].copy()}
    tiny.write_weights(folder, tiny.tensors() | trained)
    message = refusal(folder)
    assert "lm_head.weight is not the embedding" in message
    assert "set tie_word_embeddings to false" in message
    tiny.write_config(folder, tie_word_embeddings=False)
    assert not Checkpoint.open(folder).architecture.tied


def test_an_embedding_that_was_saved_as_the_output_layer_says_how_to_save_it(folder: Path) -> None:
    weights = tiny.tensors()
    weights["lm_head.weight"] = weights.pop("model.embed_tokens.weight")
    tiny.write_weights(folder, weights)
    assert "no tensor model.embed_tokens.weight; it was saved as lm_head.weight" in refusal(folder)


@pytest.mark.parametrize(
    ("extra", "mend"),
    [
        ("model.layers.2.mlp.up_proj.weight", "num_hidden_layers"),
        ("model.layers.0.self_attn.q_proj.bias", "the architecture"),
        ("model.layers.0.self_attn.q_proj.lora_A.weight", "adapters in the recipe"),
        ("model.layers.0.self_attn.q_proj.base_layer.weight", "adapters in the recipe"),
    ],
)
def test_a_tensor_too_many_is_named_with_its_likely_cause(folder: Path, extra: str, mend: str) -> None:
    tiny.write_weights(folder, {**tiny.tensors(), extra: np.zeros((4, 4), np.float32)})
    message = refusal(folder)
    assert f"holds {extra}" in message
    assert mend in message


def test_rotary_buffers_of_older_saves_are_passed_over(folder: Path) -> None:
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    tiny.write_weights(folder, tiny.tensors() | buffer)
    Checkpoint.open(folder)


def test_a_file_that_becomes_shorter_while_it_is_read_is_named(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=f"{path} became shorter"):
        checkpoint.check_finite()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_a_number_that_is_none_is_found_wherever_it_is(folder: Path, value: float, dtype: Any) -> None:
    weights = tiny.tensors()
    spoilt = weights["model.layers.1.mlp.down_proj.weight"].astype(dtype)
    spoilt[-1, -1] = value
    tiny.write_weights(folder, weights | {"model.layers.1.mlp.down_proj.weight": spoilt})
    checkpoint = Checkpoint.open(folder)
    with pytest.raises(CheckpointError, match=r"model\.layers\.1\.mlp\.down_proj\.weight holds NaN or inf"):
        checkpoint.check_finite()


def test_a_lora_adapter_is_no_checkpoint_and_hears_where_it_goes(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    assert f"adapters is [{folder}]" in refusal(folder)
    assert f"python -m build merge BASE OUTPUT --adapter {folder}" in refusal(folder)


@pytest.mark.parametrize("shards", [1, 3])
def test_an_adapter_config_left_beside_whole_weights_is_a_hint(tmp_path: Path, shards: int) -> None:
    folder = tiny.write(tmp_path / "model", shards)
    (folder / "adapter_config.json").write_text("{}")
    (hint,) = Checkpoint.open(folder).hints()
    assert "adapter_config.json lies beside whole weights and is not used" in hint


def test_a_path_that_leads_nowhere_says_why(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/data/model")
    assert "it is a link to /data/model, which is not here" in refusal(tmp_path / "link")
    assert "write the whole path" in refusal(Path("~/models/mine"))


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    assert "is not a folder" in refusal(tmp_path / "nothing")


def test_fp32_weights_get_a_hint_and_no_error(folder: Path) -> None:
    tiny.write_weights(folder, {name: array.astype(np.float32) for name, array in tiny.tensors().items()})
    (hint,) = Checkpoint.open(folder).hints()
    assert "bf16 is enough" in hint
