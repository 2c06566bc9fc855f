"""`slipway` as a person or `build` calls it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT

from slipway.contract.manifest import FileDigest


def runtime(*arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "slipway", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=120)


def test_check_prints_one_line_for_an_engine_that_works(engine_dir: Path) -> None:
    done = runtime("check", engine_dir)
    assert done.returncode == 0
    assert done.stdout.startswith("smollm2-135m-int4: 8 tokens in ")
    assert done.stdout.count("\n") == 1
    assert not done.stderr


def test_check_fails_with_one_sentence_for_an_engine_that_does_not_load(
    engine_dir: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(engine_dir, tmp_path / "engine"))
    (copy / "model.onnx").write_bytes(b"no graph")
    manifest = json.loads((copy / "engine.json").read_text())
    assert _fails(copy) == f"error: {copy / 'model.onnx'} is damaged: 8 bytes instead of " + (
        f"{manifest['files']['model.onnx']['size']}; build the engine again.\n"
    )
    manifest["files"]["model.onnx"] = FileDigest.of(copy / "model.onnx").model_dump()
    (copy / "engine.json").write_text(json.dumps(manifest))
    assert "model.onnx does not load in onnxruntime" in _fails(copy)
    del manifest["files"]["model.onnx"]
    (copy / "engine.json").write_text(json.dumps(manifest))
    assert "names 'model.onnx', which is not among the engine's files" in _fails(copy)


def _fails(directory: Path) -> str:
    done = runtime("check", directory)
    assert done.returncode == 1
    assert not done.stdout
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_folder_that_is_no_engine_is_an_error_with_the_way_to_one(tmp_path: Path) -> None:
    done = runtime("generate", tmp_path, "Hi")
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {tmp_path} is not a built engine: engine.json is missing; build one with `make engine`.\n"
    )


def test_generate_streams_an_answer(engine_dir: Path) -> None:
    done = runtime("generate", engine_dir, "-", "--max-tokens", 40, stdin="What is the capital of France?")
    assert done.returncode == 0
    assert "Paris" in done.stdout


def test_generate_follows_a_schema_or_an_expression_but_not_both(engine_dir: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "array", "items": {"type": "integer", "maximum": 9}, "maxItems": 3}')
    done = runtime("generate", engine_dir, "Count.", "--json-schema", schema)
    assert all(isinstance(number, int) for number in json.loads(done.stdout))
    both = runtime("generate", engine_dir, "Count.", "--json-schema", schema, "--regex", "[0-9]")
    assert both.returncode == 1
    assert "give one of --json-schema, --regex, --grammar" in both.stderr


def test_generate_refuses_what_the_engine_cannot_do_in_one_sentence(engine_dir: Path) -> None:
    done = runtime("generate", engine_dir, "Hi", "--top-p", 0)
    assert done.returncode == 1
    assert done.stderr.startswith("error: top_p is 0.0")


def test_help_teaches_with_a_command_to_try() -> None:
    assert "slipway generate engines/" in " ".join(runtime("generate", "--help").stdout.split())
