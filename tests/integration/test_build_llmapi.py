"""`python -m build` for target tensorrt-llm-llmapi: nothing of NVIDIA's is needed to build."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import tiny_checkpoints as tiny

from build.checkpoint.checkpoint import Checkpoint
from build.engine import build
from slipway.contract.errors import BuildError, CheckpointError, EngineRefused, RecipeError
from slipway.contract.manifest import Manifest, open_engine


def built(root: Path, **changes: Any) -> Path:
    recipe = {
        "name": "tiny",
        "checkpoint": str(root / "checkpoint"),
        "target": "tensorrt-llm-llmapi",
        "quantization": "none",
    }
    (root / "tiny.yaml").write_text(yaml.safe_dump(recipe | changes))
    build(root / "tiny.yaml", None, root / "engines", root / "repository", force=False)
    return root / "engines" / "tiny"


def config(engine: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((engine / "config.json").read_text())
    return values


def test_the_engine_is_a_checkpoint_of_its_own_with_every_file_in_its_manifest(tmp_path: Path) -> None:
    tiny.write(tmp_path / "checkpoint", shards=2)
    engine = built(tmp_path, parallel={"tensor": 2}, kv_cache={"quantization": "fp8"})
    manifest = Manifest.read(engine)
    assert manifest.target.name == "tensorrt-llm-llmapi"
    assert (manifest.device, manifest.parallel.tensor) == ("cuda", 2)
    assert manifest.requires == {"tensorrt_llm": ">=1.2"}
    assert manifest.files.keys() == {path.name for path in engine.iterdir()} - {"engine.json"}
    manifest.verify(engine)
    opened, source = Checkpoint.open(engine), Checkpoint.open(tmp_path / "checkpoint")
    assert opened.architecture == source.architecture
    for name in source.weights.tensors:
        np.testing.assert_array_equal(opened.weights.read(name), source.weights.read(name))
    tiny.write_weights(tmp_path / "checkpoint", {"gone": np.zeros(1, np.float32)})
    manifest.verify(engine)  # it shares no file with the checkpoint
    with pytest.raises(EngineRefused, match=r"needs tensorrt_llm >=1.2, which is not installed"):
        open_engine(engine)


def test_the_end_of_a_turn_in_the_chat_template_ends_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write(tmp_path / "checkpoint")
    line = "Answers also end at <extra_1> (259): it ends a turn in the chat template, and no file names it."
    shape = "{% for m in messages %}{{ m.content }}<extra_INDEX>{% endfor %}"
    tiny.write_tokenizer(tmp_path / "checkpoint", extra=3, chat_template=shape.replace("INDEX", "1"))
    assert Manifest.read(built(tmp_path)).eos_token_ids == (257, 259)
    assert line in " ".join(capsys.readouterr().err.split())
    # What the recipe says takes the place of the checkpoint's template, and is built again.
    (tmp_path / "own.jinja").write_text(shape.replace("INDEX", "2"))
    chat = {"template": str(tmp_path / "own.jinja"), "stop": ["<extra_0>", "END"]}
    assert Manifest.read(built(tmp_path, chat=chat)).eos_token_ids == (257, 260, 258)
    assert line not in " ".join(capsys.readouterr().err.split())
    with pytest.raises(RecipeError, match=r"chat\.stop has 'a<extra_0>', which no answer can have"):
        built(tmp_path, chat={"stop": ["a<extra_0>"]})


def test_config_json_is_one_that_the_older_transformers_reads_rightly(tmp_path: Path) -> None:
    tiny.write(tmp_path / "checkpoint")
    scaling = {"rope_type": "linear", "factor": 4.0, "rope_theta": 100000.0}
    tiny.write_config(tmp_path / "checkpoint", rope_theta=None, rope_parameters=scaling, dtype="float32")
    values = config(built(tmp_path, dtype="float16"))
    assert values["rope_theta"] == 100000.0
    assert values["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}
    assert values["torch_dtype"] == "float16"
    assert not {"rope_parameters", "dtype"} & values.keys()


def test_a_checkpoint_that_llm_would_run_wrongly_leaves_no_engine(tmp_path: Path) -> None:
    tiny.write(tmp_path / "checkpoint")
    with pytest.raises(BuildError, match="tensor"):
        built(tmp_path, parallel={"tensor": 3})
    weights = tiny.tensors()
    weights["model.norm.weight"][0] = np.nan
    tiny.write_weights(tmp_path / "checkpoint", weights)
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight holds NaN"):
        built(tmp_path)
    assert not (tmp_path / "engines" / "tiny").exists()
    assert not (tmp_path / "repository").exists()
