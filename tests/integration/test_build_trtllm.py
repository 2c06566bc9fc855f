"""`python -m build engine` for target tensorrt-llm, with a stand-in for NVIDIA's container."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import tiny_checkpoints as tiny
from support import trtllm_stand_in
from support.paths import ROOT

from slipway.contract.manifest import Manifest


@dataclass
class Place:
    """A recipe, a tiny checkpoint, a stand-in for the container, and where the engine goes."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def engine(self) -> Path:
        return self.root / "engines" / "tiny"

    @property
    def log(self) -> Path:
        return self.root / "engines" / ".tiny.log"

    def recipe(self, **changes: Any) -> None:
        values = {
            "name": "tiny",
            "checkpoint": str(self.root / "checkpoint"),
            "target": "tensorrt-llm",
            "quantization": "none",
        }
        (self.root / "tiny.yaml").write_text(yaml.safe_dump(values | changes))

    def command(self, *options: str) -> list[str]:
        places = ["--output", str(self.root / "engines"), "--repository", str(self.root / "repository")]
        return [sys.executable, "-m", "build", "engine", str(self.root / "tiny.yaml"), *places, *options]

    def build(self, *options: str, status: int = 0, **environment: str) -> str:
        ran = subprocess.run(
            self.command(*options),
            cwd=ROOT,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran.stdout + ran.stderr

    def left(self) -> set[str]:
        folder = self.root / "engines"
        return {path.name for path in folder.iterdir()} - {".tiny.lock"} if folder.is_dir() else set()


def _place(root: Path, **container: Any) -> Place:
    made = Place(root)
    made.recipe()
    tiny.write(root / "checkpoint")
    # The same matrices as two heads, of a size that TensorRT-LLM has.
    tiny.write_config(root / "checkpoint", num_attention_heads=2, num_key_value_heads=1)
    (root / "container").mkdir()
    made.environment = trtllm_stand_in.write(root / "container", **container)
    return made


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return _place(tmp_path)


def test_an_engine_is_compiled_with_all_that_serving_needs_beside_it(place: Place) -> None:
    place.recipe(parallel={"tensor": 2}, limits={"max_batch_size": 4, "max_seq_len": 64})
    two = ("NVIDIA L4, 23034, 8.9",) * 2
    (place.root / "machine").mkdir()
    place.environment = trtllm_stand_in.write(place.root / "machine", gpus=two)
    said = place.build()
    assert f"Building {place.engine} (there is none yet)." in said
    assert "by its plan" not in said
    assert "is ready" in said
    files = {path.name for path in place.engine.iterdir()}
    assert files == {
        "engine.json",
        "config.json",
        "rank0.engine",
        "rank1.engine",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "xgrammar_tokenizer_info.json",
    }
    manifest = Manifest.read(place.engine)
    manifest.verify(place.engine)
    assert set(manifest.files) == files - {"engine.json"}
    assert (manifest.target.name, manifest.method) == ("tensorrt-llm", "unquantized")
    assert (manifest.device, manifest.compute_capability) == ("cuda", "8.9")
    assert manifest.parallel.world_size == 2
    assert manifest.versions["tensorrt_llm"] == "1.2.1"
    assert manifest.requires == {"tensorrt_llm": "==1.2.1"}
    assert manifest.limits.model_dump() == {
        "max_batch_size": 4,
        "max_input_len": 63,
        "max_seq_len": 64,
        "max_num_tokens": 256,
    }
    assert "model.safetensors" in manifest.source
    assert place.left() == {"tiny", ".tiny.log"}
    assert "Total time of building all engines" in place.log.read_text()
    assert (place.root / "repository" / "tiny" / "config.pbtxt").is_file()

    assert "is up to date; nothing to build" in place.build()
    limits = {"max_batch_size": 4, "max_seq_len": 64}
    place.recipe(parallel={"tensor": 2, "gpus": [2, 3]}, limits=limits)
    assert "is up to date; nothing to build" in place.build()
    assert Manifest.read(place.engine).parallel.gpus == (2, 3)
    assert 'string_value: "2,3"' in (place.root / "repository" / "tiny.engine" / "config.pbtxt").read_text()
    place.recipe(parallel={"tensor": 2}, limits=limits | {"max_batch_size": 8})
    assert "(the recipe changed)" in place.build()


@pytest.mark.parametrize("option", [(), ("--checkpoint", "somewhere else")])
def test_without_the_program_the_line_to_paste_is_shown_and_nothing_done(
    tmp_path: Path, option: tuple[str, ...]
) -> None:
    place = _place(tmp_path, program=False)
    said = place.build(*option, status=1)
    sentence, line = said.strip().splitlines()
    assert "trtllm-build is not here" in sentence
    assert "tritonserver:26.07-trtllm-python-py3" in sentence
    words = shlex.split(line)
    assert words[:6] == ["docker", "compose", "run", "--rm", "--user", "$(id -u):$(id -g)"]
    mounted = words[6 : words.index("build")]
    assert f"{tmp_path / 'tiny.yaml'}:{tmp_path / 'tiny.yaml'}:ro" in mounted
    assert words[6 + len(mounted) :] == ["build", "engine", str(tmp_path / "tiny.yaml"), *option]
    assert place.left() == set()


def test_a_recipe_of_the_checkout_is_named_as_the_container_sees_it() -> None:
    command = [sys.executable, "-m", "build", "engine", str(ROOT / "engines" / "llama-2-7b-chat.yaml")]
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.endswith(" build engine engines/llama-2-7b-chat.yaml\n")


@pytest.mark.parametrize(
    ("container", "recipe", "words"),
    [
        ({"gpus": ()}, {}, "nvidia-smi is not installed; in a container, start it with GPUs"),
        (
            {"version": "1.1.0"},
            {},
            "TensorRT-LLM 1.1.0 is installed, but Slipway writes",
        ),
        ({"gpus": ("Tesla T4, 15360, 7.5",)}, {}, "Tesla T4 has 7.5; take another GPU"),
        (
            {"gpus": ("NVIDIA B200, 183359, 10.0",)},
            {"quantization": "int4"},
            "has no int4 for compute capability 10.0",
        ),
        (
            {"gpus": ("NVIDIA A100, 81920, 8.0", "NVIDIA L4, 23034, 8.9")},
            {},
            "differ in compute capability: NVIDIA A100 (8.0), NVIDIA L4 (8.9)",
        ),
        (
            {"gpus": ("NVIDIA A100, 81920, 8.0",)},
            {"quantization": "fp8"},
            "fp8 needs compute capability 8.9 or newer, and NVIDIA A100 has 8.0",
        ),
    ],
)
def test_a_machine_that_cannot_build_it_is_told_before_anything_is_converted(
    tmp_path: Path, container: dict[str, Any], recipe: dict[str, Any], words: str
) -> None:
    place = _place(tmp_path, **container)
    place.recipe(**recipe)
    assert words in place.build(status=1)
    assert place.left() == set()


def test_a_gpu_that_is_too_small_by_the_plan_is_a_note_because_plans_estimate(tmp_path: Path) -> None:
    place = _place(tmp_path, gpus=("NVIDIA L4, 64, 8.9",))
    said = place.build()
    assert "Note: by its plan, tiny cannot be served by " in said
    assert "is ready" in said


def test_a_disk_without_room_for_the_engine_too_is_found_before_anything_is_compiled(place: Place) -> None:
    # 191,104 bytes are the converted checkpoint's.
    full = "import shutil, sys; shutil.disk_usage = lambda _: shutil._ntuple_diskusage(9, 8, 200_000)"
    run = f"{full}; from build.__main__ import app; app(sys.argv[1:])"
    python, _, _, *words = place.command()
    environment = place.environment | {"PYTHONPATH": f"{ROOT}:{place.environment['PYTHONPATH']}"}
    ran = subprocess.run(
        [python, "-c", run, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "The engine with its converted checkpoint takes 0 MB" in ran.stderr
    assert "Compiling" not in ran.stderr
    assert place.left() == set()


def test_hidden_gpus_are_named_as_the_reason(place: Place) -> None:
    assert "CUDA_VISIBLE_DEVICES hides every GPU" in place.build(status=1, CUDA_VISIBLE_DEVICES="")


def test_a_checkpoint_without_a_chat_template_is_refused_before_it_is_converted(place: Place) -> None:
    tiny.write_tokenizer(place.root / "checkpoint", chat_template=None)
    assert "has no chat template, and the engine would have none" in place.build(status=1)
    assert place.left() == set()
    (place.root / "own.jinja").write_text("own {{ messages[0].content }}")
    place.recipe(chat={"template": str(place.root / "own.jinja")})
    place.build()
    assert (place.engine / "chat_template.jinja").read_text() == "own {{ messages[0].content }}"


def test_a_checkpoint_without_a_tokenizer_is_refused(place: Place) -> None:
    (place.root / "checkpoint" / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in place.build(status=1)
    assert place.left() == set()


def test_a_build_that_fails_keeps_its_log_and_the_engine_before(place: Place) -> None:
    place.build()
    before = Manifest.read(place.engine)
    failing = "[TRT] [W] Requested amount of GPU memory (24793579520 bytes) could not be allocated."
    said = place.build("--force", status=1, STAND_IN_FAILS=failing)
    assert "The GPU's memory is too small" in said
    assert failing in place.log.read_text()
    assert Manifest.read(place.engine) == before
    assert place.left() == {"tiny", ".tiny.log"}


def test_an_engine_with_less_than_the_recipe_asks_for_is_not_put_in_place(place: Place) -> None:
    said = place.build(status=1, STAND_IN_BUILT=json.dumps({"max_seq_len": 128}))
    assert "an engine with max_seq_len 128 where the recipe asks for 256" in said
    assert not place.engine.exists()


def _started(place: Place) -> "subprocess.Popen[str]":
    """A build whose trtllm-build is at work.

    It takes SIGINT also where the tests themselves ignore it, as in the background of a shell: a program
    leaves an ignored SIGINT ignored, as POSIX asks.
    """
    process = subprocess.Popen(
        place.command(),
        cwd=ROOT,
        env=place.environment | {"STAND_IN_SLEEPS": "yes"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (place.log.is_file() and "Detected 17 inputs" in place.log.read_text()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def _compilers(place: Place) -> list[str]:
    """Processes that run the stand-in of this place."""
    ours = str(place.root / "container" / "bin" / "trtllm-build").encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if ours in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(("end", "says_so"), [(signal.SIGINT, False), (signal.SIGKILL, True)])
def test_a_build_that_is_ended_half_way_leaves_no_engine_and_no_compiler(
    place: Place, end: signal.Signals, says_so: bool
) -> None:
    with _started(place) as process:
        assert _compilers(place)
        process.send_signal(end)
        process.wait(timeout=60)
        assert process.returncode != 0
    deadline = time.monotonic() + 60
    while _compilers(place):
        assert time.monotonic() < deadline, "trtllm-build is still at work"
        time.sleep(0.02)
    assert not place.engine.exists()
    assert ("was interrupted; starting over" in place.build()) == says_so
    assert place.left() == {"tiny", ".tiny.log"}
