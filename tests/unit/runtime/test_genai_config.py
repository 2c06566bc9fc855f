"""What genai_config.json may name."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import manifests

from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import FileDigest
from slipway.contract.recipe import Limits
from slipway.runtime.executors.genai_config import FILE_NAME, check_files

MODEL = {"model": {"decoder": {"filename": "model.onnx", "inputs": {"input_ids": "input_ids"}}}}


def check(engine: Path, config: Any, listed: tuple[str, ...] = (FILE_NAME, "model.onnx")) -> None:
    (engine / FILE_NAME).write_text(config if isinstance(config, str) else json.dumps(config))
    manifest = manifests.manifest(Limits(max_batch_size=1, max_input_len=8, max_seq_len=9), 10)
    files = {name: FileDigest(size=0, sha256="0" * 64) for name in listed}
    check_files(engine, manifest.model_copy(update={"files": files}))


def test_it_may_name_the_files_of_the_engine(tmp_path: Path) -> None:
    check(tmp_path, MODEL)


@pytest.mark.parametrize("name", ["/etc/passwd", "../model.onnx", "other.onnx", "./model.onnx"])
@pytest.mark.parametrize(
    "config",
    [
        {"model": {"decoder": {"filename": "NAME"}}},
        {"model": {"decoder": {"pipeline": [{"part": {"filename": "NAME"}}]}}},
        {"model": {"decoder": {"session_options": {"custom_ops_library": "NAME"}}}},
        {"model": {"vision": {"adapter_filename": "NAME"}}},
        {
            "model": {
                "decoder": {"session_options": {"provider_options": [{"qnn": {"backend_path": "NAME"}}]}}
            }
        },
    ],
    ids=["graph", "pipeline", "library", "adapter", "backend"],
)
def test_another_file_is_refused(tmp_path: Path, config: Any, name: str) -> None:
    with pytest.raises(EngineRefused, match="is not among the engine's files"):
        check(tmp_path, json.loads(json.dumps(config).replace("NAME", name)))


def test_it_must_be_a_file_of_the_engine_itself_and_json(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match=r"genai_config\.json is not among"):
        check(tmp_path, MODEL, listed=("model.onnx",))
    with pytest.raises(EngineRefused, match=r"genai_config\.json is damaged"):
        check(tmp_path, "{")
