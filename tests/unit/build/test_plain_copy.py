"""The copy of a checkpoint that the ONNX builder reads."""

import json
from pathlib import Path

import numpy as np
import pytest
from support import tiny_checkpoints as tiny

from build.checkpoint import plain_copy
from build.checkpoint.checkpoint import Checkpoint

# Each of these ended transformers or the builder with a traceback.
TROUBLE = {
    "pad_token_id": 9999,
    "torch_dtype": "torch.bfloat16",
    "model_type": None,
    "quantization_config": {},
    "auto_map": {"AutoConfig": "own.Config"},
}


def copied(folder: Path) -> Path:
    place = folder.with_name("copy")
    plain_copy.write_plain_copy(Checkpoint.open(folder), place)
    return place


def test_a_value_that_was_not_checked_does_not_reach_the_copy(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "model")
    tiny.write_config(folder, **TROUBLE)
    tiny.write_tokenizer(folder, tokenizer_class="OwnTokenizer", auto_map={"AutoTokenizer": "own.Tokenizer"})
    (folder / "generation_config.json").write_text(json.dumps({"temperature": "hot"}))
    (folder / "adapter_config.json").write_text("{}")
    place = copied(folder)
    config = json.loads((place / "config.json").read_text())
    assert not config.keys() & (TROUBLE.keys() - {"torch_dtype", "model_type"})
    assert (config["torch_dtype"], config["model_type"]) == ("bfloat16", "llama")
    assert json.loads((place / "tokenizer_config.json").read_text()) == {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    assert {path.name for path in place.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("links", [True, False])
def test_the_copy_is_a_checkpoint_of_the_same_model(
    tmp_path: Path, shards: int, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("a required privilege is not held by the client")

    if not links:
        monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = tiny.write(tmp_path / "model", shards)
    whole, copy = Checkpoint.open(folder), Checkpoint.open(copied(folder))
    assert (copy.architecture, copy.eos_token_ids) == (whole.architecture, whole.eos_token_ids)
    for name in whole.weights.tensors:
        assert np.array_equal(copy.weights.read(name), whole.weights.read(name))


def test_weights_under_another_name_get_the_name_that_transformers_reads(tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "tuned.safetensors")
    assert (copied(folder) / "model.safetensors").is_file()
