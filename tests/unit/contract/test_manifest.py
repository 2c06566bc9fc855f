import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import trtllm_stand_in

from slipway.contract import gpus
from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import FILE_NAME, FileDigest, Manifest, open_engine
from slipway.contract.recipe import Chat, Limits
from slipway.contract.target import TARGETS


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    manifest = Manifest(
        name="tiny",
        target=TARGETS["onnx-cpu"],
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


def test_a_manifest_that_the_disk_does_not_give_is_not_called_missing(engine: Path) -> None:
    (engine / FILE_NAME).unlink()
    (engine / FILE_NAME).symlink_to("/proc/self/mem")  # reading it is an EIO
    with pytest.raises(EngineRefused, match=r"engine\.json cannot be read \(Input/output error\)"):
        open_engine(engine)


def test_a_missing_file_is_named(engine: Path) -> None:
    (engine / "model.onnx").unlink()
    with pytest.raises(EngineRefused, match=r"model\.onnx is missing from engine tiny"):
        open_engine(engine)


@pytest.mark.parametrize(("content", "words"), [(b"grap", "4 bytes instead of 5"), (b"grapf", "SHA-256")])
def test_a_damaged_file_is_named(engine: Path, content: bytes, words: str) -> None:
    (engine / "model.onnx").write_bytes(content)
    with pytest.raises(EngineRefused, match=rf"model\.onnx is damaged.*{words}"):
        open_engine(engine)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../tokenizer.json", "a/../../b", "..\\b", "C:\\b", "C:b", "\\\\server\\b", "", "."],
)
def test_a_file_outside_of_the_engines_folder_is_refused(engine: Path, name: str) -> None:
    files = {name: FileDigest(size=0, sha256="0" * 64).model_dump()}
    _change(engine, files=files)
    with pytest.raises(
        EngineRefused, match=r"engine\.json is damaged at files \(.*is not a file in the engine"
    ):
        open_engine(engine)


def test_a_link_out_of_the_engines_folder_is_refused_and_one_within_it_is_not(engine: Path) -> None:
    within, outside = engine / "tokenizer.json", engine.parent / f"{engine.name}.model"
    (engine / "blob").write_bytes(within.read_bytes())
    within.unlink()
    within.symlink_to("blob")
    link = engine.parent / f"{engine.name}.link"
    link.symlink_to(engine)
    assert open_engine(link).name == "tiny"
    (engine / "model.onnx").rename(outside)
    (engine / "model.onnx").symlink_to(outside)
    with pytest.raises(EngineRefused, match=r"model\.onnx is a link that leads out of the engine's folder"):
        open_engine(engine)


def test_a_stage_checks_only_the_files_it_uses(engine: Path) -> None:
    (engine / "model.onnx").unlink()
    assert open_engine(engine, ["tokenizer.json"]).name == "tiny"


def test_a_file_without_a_digest_is_refused(engine: Path) -> None:
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


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_a_manifest_that_is_not_json_is_refused(engine: Path, content: bytes) -> None:
    (engine / FILE_NAME).write_bytes(content)
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


def _beside_recipes(engine: Path) -> Path:
    """The engine, moved to where a checkout has engines and their recipes."""
    folder = engine / "engines" / "tiny"
    folder.mkdir(parents=True)
    for name in ("model.onnx", "tokenizer.json", FILE_NAME):
        (engine / name).rename(folder / name)
    return folder


def _machine(directory: Path, monkeypatch: pytest.MonkeyPatch, *gpus: str, installed: str = "1.2.1") -> None:
    """What trtllm_stand_in says is here, and nothing else."""
    directory.mkdir()
    there = trtllm_stand_in.write(directory, gpus, installed, program=False)
    monkeypatch.setenv("PATH", f"{directory / 'bin'}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.syspath_prepend(there["PYTHONPATH"])


def _compiled(engine: Path, parallel: int = 1) -> None:
    requires = {"tensorrt_llm": "==1.2.1"}
    _change(
        engine,
        target="tensorrt-llm",
        requires=requires,
        compute_capability="8.9",
        parallel={"tensor": parallel, "pipeline": 1},
    )


def test_a_compiled_engine_opens_where_it_was_compiled(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _compiled(engine, parallel=2)
    _machine(tmp_path / "machine", monkeypatch, *["NVIDIA L4, 23034, 8.9"] * 2)
    assert open_engine(engine).parallel.world_size == 2


@pytest.mark.parametrize(
    ("gpus", "installed", "words"),
    [
        (["NVIDIA L4, 23034, 8.9"], "1.1.0", r"built for tensorrt_llm ==1\.2\.1, but 1\.1\.0 is installed"),
        (
            ["NVIDIA A100, 81920, 8.0"],
            "1.2.1",
            r"compute capability 8\.9, and this machine has NVIDIA A100 \(8\.0\)",
        ),
        ([], "1.2.1", r"compute capability 8\.9\. There is no NVIDIA GPU .* nvidia-smi is not installed"),
    ],
)
def test_an_engine_compiled_for_something_else_is_refused_with_both_sides(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: list[str], installed: str, words: str
) -> None:
    _compiled(engine)
    _machine(tmp_path / "machine", monkeypatch, *gpus, installed=installed)
    with pytest.raises(EngineRefused, match=words):
        open_engine(engine)


def test_an_engine_of_more_gpus_than_there_are_is_refused(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _compiled(engine, parallel=2)
    _machine(tmp_path / "machine", monkeypatch, "NVIDIA L4, 23034, 8.9", "NVIDIA A100, 81920, 8.0")
    with pytest.raises(
        EngineRefused, match=r"2 GPUs of .* 8\.9, and this machine has NVIDIA L4 \(8\.9\), NVIDIA A100"
    ):
        open_engine(engine)


def test_a_gpu_that_shares_the_machines_memory_is_a_gpu(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _compiled(engine)
    _machine(tmp_path / "machine", monkeypatch, "NVIDIA GB10, [N/A], 8.9")
    assert open_engine(engine).compute_capability == "8.9"
    assert gpus.installed()[0].memory is None


@pytest.mark.parametrize(("cuda", "ends"), [(12040, "12.4"), (13010, None), (13000, None)])
def test_a_driver_that_is_too_old_is_named_with_what_it_can(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: int, ends: str | None
) -> None:
    _compiled(engine)
    _machine(tmp_path / "machine", monkeypatch, "NVIDIA L4, 23034, 8.9")
    source, library = tmp_path / "cuda.c", tmp_path / "libcuda.so.1"
    source.write_text(f"int cuDriverGetVersion(int *version) {{ *version = {cuda}; return 0; }}")
    compiler = shutil.which("cc", path=os.defpath)
    if compiler is None:
        pytest.skip("there is no C compiler to stand in for the driver")
    environment = {**os.environ, "PATH": os.defpath}
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library], check=True, env=environment)
    monkeypatch.setattr(gpus, "DRIVER_LIBRARY", str(library))
    if ends is None:
        assert open_engine(engine)
    else:
        with pytest.raises(EngineRefused, match=rf"CUDA 13, .* ends at {ends}; install .* driver 590 or"):
            open_engine(engine)


def test_without_tensorrt_llm_the_container_is_named(engine: Path) -> None:
    _compiled(engine)
    with pytest.raises(EngineRefused, match=r"not installed; serve it in the container of docker/triton"):
        open_engine(engine)


def test_nvidia_smi_that_fails_is_quoted(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _compiled(engine)
    _machine(tmp_path / "machine", monkeypatch, "unused, 1, 8.9")
    program = tmp_path / "machine" / "bin" / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not communicate.'\nexit 9\n")
    with pytest.raises(EngineRefused, match="nvidia-smi says: NVIDIA-SMI has failed because"):
        open_engine(engine)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({}, None),
        ({"limits": {"max_seq_len": 128, "max_batch_size": 2}}, None),
        ({"limits": {"max_batch_size": 8}}, "max_batch_size 4, and its recipe .*tiny.yaml asks for 8"),
        ({"limits": {"max_seq_len": 4096}}, "max_seq_len 128, and its recipe .* asks for 4096"),
        ({"name": "other", "limits": {"max_batch_size": 8}}, None),
        ({"target": "onnx-dml", "limits": {"max_batch_size": 8}}, None),
    ],
)
def test_an_engine_with_less_than_its_recipe_asks_for_is_refused(
    engine: Path, recipe: dict[str, object], words: str | None
) -> None:
    folder = _beside_recipes(engine)
    values = {"name": "tiny", "checkpoint": "c", "target": "onnx-cpu", "quantization": "int4", **recipe}
    (folder.parent / "tiny.yaml").write_text(json.dumps(values))
    if words is None:
        assert open_engine(folder).name == "tiny"
        return
    with pytest.raises(EngineRefused, match=words):
        open_engine(folder)


def test_a_recipe_that_cannot_be_read_is_a_refusal(engine: Path) -> None:
    folder = _beside_recipes(engine)
    recipe = "name: tiny\ncheckpoint: c\ntarget: onnx-cpu\nquantization: int4\nlimit: 3\n"
    (folder.parent / "tiny.yaml").write_text(recipe)
    with pytest.raises(EngineRefused, match=r"engine tiny is wrong: .*tiny.yaml:5: limit: unknown"):
        open_engine(folder)


def test_a_manifest_of_before_there_were_compiled_engines_is_still_read(engine: Path) -> None:
    path = engine / FILE_NAME
    values = json.loads(path.read_text())
    for key in ("compute_capability", "parallel"):
        del values[key]
    path.write_text(json.dumps(values))
    assert open_engine(engine).parallel.world_size == 1
