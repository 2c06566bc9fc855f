"""`python -m build` as a person runs it, into a folder of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from support import tiny_checkpoints as tiny
from support.paths import ROOT

from slipway.contract.manifest import FileDigest, open_engine


@dataclass
class Bench:
    """A recipe, a tiny checkpoint, and where the engine and its Triton models go."""

    root: Path

    @property
    def engine(self) -> Path:
        return self.root / "engines" / "tiny"

    def recipe(self, **changes: object) -> None:
        values = {
            "name": "tiny",
            "checkpoint": str(self.root / "checkpoint"),
            "target": "onnx-cpu",
            "quantization": "int4",
        }
        (self.root / "tiny.yaml").write_text(json.dumps(values | changes))

    def command(self, *options: str) -> list[str]:
        places = ["--output", str(self.root / "engines"), "--repository", str(self.root / "repository")]
        return [sys.executable, "-m", "build", "engine", str(self.root / "tiny.yaml"), *places, *options]

    def build(self, *options: str, status: int = 0) -> str:
        ran = subprocess.run(
            self.command(*options), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
        return ran.stdout + ran.stderr

    def start_line(self, *options: str) -> str:
        """The line with which a build starts; the build is killed then."""
        building = subprocess.Popen(
            self.command(*options), cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert building.stderr is not None
        said = next((line for line in building.stderr if line.startswith("Building ")), "")
        os.killpg(building.pid, signal.SIGKILL)
        building.communicate()
        return said

    def beside(self) -> set[str]:
        return {path.name for path in (self.root / "engines").iterdir()} - {"tiny", ".tiny.lock"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.recipe()
    tiny.write(tmp_path / "checkpoint")
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("built"))
    made.recipe()
    tiny.write(made.root / "checkpoint")
    # With these, transformers or the builder ended in a traceback; serving needs none of them.
    unread = {"pad_token_id": 9999, "torch_dtype": "torch.bfloat16", "model_type": None}
    tiny.write_config(made.root / "checkpoint", **unread, quantization_config={})
    made.build()
    yield made
    assert made.beside() == set()


@pytest.fixture
def ready(built: Bench, tmp_path: Path) -> Bench:
    """A built engine of one's own, to spoil."""
    made = Bench(tmp_path / "ready")
    shutil.copytree(built.root, made.root)
    made.recipe()
    return made


def test_an_engine_is_whole_and_tells_what_it_was_made_from(built: Bench) -> None:
    manifest = open_engine(built.engine)
    assert set(manifest.files) == {path.name for path in built.engine.iterdir()} - {"engine.json"}
    assert manifest.source["model.safetensors"] == FileDigest.of(built.root / "checkpoint/model.safetensors")
    assert (manifest.limits.max_input_len, manifest.limits.max_seq_len) == (255, 256)
    assert manifest.method is not None
    assert manifest.method.startswith("4 bits, scales searched")
    assert manifest.eos_token_ids == (257,)
    assert manifest.vocab_size == 264
    assert set(manifest.versions) >= {"slipway", "onnxruntime-genai", "onnxruntime", "torch", "transformers"}


@pytest.mark.parametrize(("target", "device"), [("onnx-dml", "dml"), ("onnx-cuda", "cuda")])
def test_an_engine_for_a_gpu_is_built_and_tried_without_one(bench: Bench, target: str, device: str) -> None:
    bench.recipe(target=target)
    said = bench.build()
    assert "8 tokens in" in said
    manifest = open_engine(bench.engine)
    assert (manifest.target.name, manifest.device, manifest.limits.max_batch_size) == (target, device, 4)
    provider = json.loads((bench.engine / "genai_config.json").read_text())["model"]["decoder"]
    assert [*provider["session_options"]["provider_options"][0]] == [device]
    assert (bench.root / "repository").exists() == (target == "onnx-cuda"), "Triton has no DirectML"


def test_its_triton_models_are_laid_out(built: Bench) -> None:
    assert {path.name.split(".")[0] for path in (built.root / "repository").iterdir()} == {"tiny"}


def test_a_second_run_builds_nothing_and_says_so(built: Bench) -> None:
    before = open_engine(built.engine)
    assert "is up to date; nothing to build" in built.build()
    assert open_engine(built.engine) == before


def test_the_length_of_answers_changes_without_a_build(built: Bench) -> None:
    before = open_engine(built.engine)
    assert before.default_max_tokens == before.limits.max_seq_len - 1, "2048 is more than the context"
    built.recipe(chat={"max_tokens": 30})
    assert "is up to date; nothing to build" in built.build()
    assert open_engine(built.engine).default_max_tokens == 30
    built.recipe()
    built.build()
    assert open_engine(built.engine) == before


def test_a_lost_repository_is_laid_out_again_without_a_build(built: Bench) -> None:
    for path in (built.root / "repository").iterdir():
        path.rename(built.root / f"moved.{path.name}")
    assert "up to date" in built.build()
    assert len(list((built.root / "repository").iterdir())) == 4


def test_an_engine_from_elsewhere_can_be_laid_out_alone(built: Bench, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "repository", str(built.engine), "--repository", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "tiny" / "config.pbtxt").is_file()


def test_what_changed_is_named_and_so_is_a_wish_to_build_again(ready: Bench) -> None:
    assert "(--force)" in ready.start_line("--force")
    ready.recipe(limits={"max_batch_size": 2})
    assert "(the recipe changed)" in ready.start_line()
    ready.recipe()
    (ready.root / "checkpoint" / "generation_config.json").write_text('{"eos_token_id": [5, 257]}')
    assert "(the checkpoint changed)" in ready.start_line()
    (ready.engine / "model.onnx.data").write_bytes(b"cut off")
    assert "model.onnx.data is damaged" in ready.start_line()


def test_what_changed_is_built_again(ready: Bench) -> None:
    before = open_engine(ready.engine)
    (ready.root / "own.jinja").write_text("own {{ messages[0].content }}")
    chat = {"system": "Be brief.", "stop": ["#"], "template": str(ready.root / "own.jinja")}
    ready.recipe(limits={"max_batch_size": 2, "max_seq_len": 64}, chat=chat)
    (ready.root / "checkpoint" / "generation_config.json").write_text('{"eos_token_id": [5, 257]}')
    (ready.engine / "model.onnx.data").write_bytes(b"cut off")
    ready.build()
    manifest = open_engine(ready.engine)
    assert manifest.created >= before.created
    assert (manifest.limits.max_batch_size, manifest.limits.max_seq_len) == (2, 64)
    assert (manifest.chat.system, manifest.chat.stop) == ("Be brief.", ("#",))
    assert manifest.eos_token_ids == (5, 257)
    template = (ready.engine / "chat_template.jinja").read_text()
    assert template == "own {{ messages[0].content }}", "the recipe's own, in the place of the checkpoint's"


def test_another_checkpoint_can_be_given_on_the_command_line(ready: Bench) -> None:
    (ready.root / "checkpoint").rename(ready.root / "merged")
    assert "checkpoint is not a folder" in ready.build(status=1)
    assert "is up to date" in ready.build("--checkpoint", str(ready.root / "merged")), "the same files"
    tiny.write_config(ready.root / "merged", rope_theta=500.0)
    assert "(the checkpoint changed)" in ready.start_line("--checkpoint", str(ready.root / "merged"))


def test_a_killed_build_leaves_no_engine_and_the_next_says_so(bench: Bench) -> None:
    with subprocess.Popen(
        bench.command(), cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as killed:
        assert killed.stderr is not None
        for line in killed.stderr:
            if line.startswith("Quantizing"):
                break
        assert "is being built by another process" in bench.build(status=1)
        killed.kill()
        killed.wait()
        assert not bench.engine.exists()
        # The builder that the killed build had started is still at work, as it would be.
        said = bench.build()
        _end_group(killed.pid)
    assert "was interrupted; starting over" in said
    open_engine(bench.engine)
    assert bench.beside() == set()


def _end_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"limits": {"max_seq_len": 512}}, "max_seq_len 512 is more than the model's context of 256"),
        ({"chat": {"template": "nowhere.jinja"}}, "chat.template nowhere.jinja cannot be read"),
        ({"quantization": "int3"}, "quantization: Input should be 'none', 'int8', 'int4'"),
    ],
)
def test_a_recipe_that_cannot_be_built_is_refused_at_once(
    bench: Bench, changes: dict[str, object], words: str
) -> None:
    bench.recipe(**changes)
    assert words in bench.build(status=1)
    assert not bench.engine.exists()


def test_weights_that_are_no_numbers_stop_the_build(bench: Bench) -> None:
    weights = tiny.tensors()
    weights["model.norm.weight"] = np.full(64, np.nan, ml_dtypes.bfloat16)
    tiny.write_weights(bench.root / "checkpoint", weights)
    assert "model.norm.weight holds NaN or infinity" in bench.build(status=1)
    assert not bench.engine.exists()


def test_an_engine_that_computes_no_numbers_never_takes_its_place(bench: Bench) -> None:
    weights = tiny.tensors()
    weights["model.norm.weight"] = np.full(64, 3e38, ml_dtypes.bfloat16)
    tiny.write_weights(bench.root / "checkpoint", weights)
    said = bench.build(status=1)
    assert "The engine was built but does not work" in said
    assert "in place of logits" in said
    assert not bench.engine.exists()
    assert bench.beside() == set()


def test_a_template_that_is_not_jinja_stops_the_build(bench: Bench) -> None:
    (bench.root / "checkpoint" / "chat_template.jinja").write_text("{% for %}")
    assert "is not a valid chat template" in bench.build(status=1)
    assert not bench.engine.exists()


def test_a_builder_that_fails_shows_its_last_words_and_keeps_the_engine_before(ready: Bench) -> None:
    before = open_engine(ready.engine)
    # Valid for Slipway's checks, but the builder makes tables of all positions.
    tiny.write_config(ready.root / "checkpoint", max_position_embeddings=10**15)
    said = ready.build(status=1)
    assert re.search(r"Memory ran out \(.*\); end other programs.* Its whole log: ", said)
    assert (ready.root / "engines" / ".tiny.log").is_file()
    assert open_engine(ready.engine) == before


def test_the_sample_engine_of_this_checkout_is_up_to_date_with_its_recipe(engine_dir: Path) -> None:
    manifest = open_engine(engine_dir)
    assert manifest.name == engine_dir.name
    assert manifest.source
    assert manifest.limits.max_seq_len == 8192


def test_the_sample_is_fetched_once(checkpoint_dir: Path) -> None:
    command = [sys.executable, "-m", "build", "sample", str(checkpoint_dir)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "is there already" in ran.stdout
