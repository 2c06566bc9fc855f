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
from slipway.contract.errors import BuildError, CheckpointError, EngineRefused
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
