import json
from pathlib import Path

import pytest

from engines.errors import EngineRefused
from engines.manifest import FILE_NAME, FileDigest, Manifest, open_engine
from engines.recipe import Chat, Limits


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    manifest = Manifest(
        name="tiny",
        target="onnx-cpu",
        quantization="int4",
        limits=Limits(max_batch_size=4, max_input_len=100, max_seq_len=128),
        chat=Chat(system="Be brief.", stop=("###",)),
        eos_token_ids=(2,),
        vocab_size=64,
        source={},
        recipe_sha256="0" * 64,
        versions={"onnxruntime": "1.31.1"},
        requires={"onnxruntime": ">=1.24"},
        device="cpu",
        created="2026-01-01T00:00:00+00:00",
        files={name: FileDigest.of(tmp_path / name) for name in ("model.onnx", "tokenizer.json")},
    )
    (tmp_path / FILE_NAME).write_text(manifest.model_dump_json())
    return tmp_path


def _change(engine: Path, **changes: object) -> None:
    path = engine / FILE_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_whole_engine_opens(engine: Path) -> None:
    assert open_engine(engine).chat == Chat(system="Be brief.", stop=("###",))


def test_a_folder_that_is_no_engine_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match=r"not a built engine: engine\.json is missing.*make engine"):
        open_engine(tmp_path)


def test_a_missing_file_is_named(engine: Path) -> None:
    (engine / "model.onnx").unlink()
    with pytest.raises(EngineRefused, match=r"model\.onnx is missing from engine tiny"):
        open_engine(engine)


@pytest.mark.parametrize(("content", "words"), [(b"grap", "4 bytes instead of 5"), (b"grapf", "SHA-256")])
def test_a_damaged_file_is_named(engine: Path, content: bytes, words: str) -> None:
    (engine / "model.onnx").write_bytes(content)
    with pytest.raises(EngineRefused, match=rf"model\.onnx is damaged.*{words}"):
        open_engine(engine)


def test_a_stage_checks_only_the_files_it_uses(engine: Path) -> None:
    (engine / "model.onnx").unlink()
    assert open_engine(engine, ["tokenizer.json"]).name == "tiny"


def test_a_file_that_nobody_vouches_for_is_refused(engine: Path) -> None:
    with pytest.raises(EngineRefused, match=r"does not list model\.onnx\.data"):
        open_engine(engine, ["model.onnx.data"])


def test_an_engine_of_another_format_is_refused_before_its_fields_are_read(engine: Path) -> None:
    _change(engine, format=2, something="new")
    with pytest.raises(EngineRefused, match="has format 2, this Slipway reads format 1"):
        open_engine(engine)


def test_a_damaged_manifest_names_the_field(engine: Path) -> None:
    _change(engine, vocab_size="many")
    with pytest.raises(EngineRefused, match=r"engine\.json is damaged at vocab_size"):
        open_engine(engine)


def test_a_manifest_that_is_not_json_is_refused(engine: Path) -> None:
    (engine / FILE_NAME).write_text("{")
    with pytest.raises(EngineRefused, match="is damaged at"):
        open_engine(engine)


def test_an_engine_for_another_onnxruntime_names_both_versions(engine: Path) -> None:
    _change(engine, requires={"onnxruntime": "<1.0"})
    with pytest.raises(EngineRefused, match=r"built for onnxruntime <1\.0, but 1\.\d+"):
        open_engine(engine)


def test_an_engine_that_needs_a_package_that_is_not_there_names_it(engine: Path) -> None:
    _change(engine, requires={"no-such-package": ">=1"})
    with pytest.raises(EngineRefused, match=r"needs no-such-package >=1, which is not installed"):
        open_engine(engine)
