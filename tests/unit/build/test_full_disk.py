"""Any write of a command fails: the old state or the new one is there, and one sentence says what to do.

As SQLite tests itself: the writes of a run are counted, and then each of them fails in a run of its own.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from safetensors.numpy import save_file
from support import tiny_checkpoints as tiny
from support.disk_faults import KINDS, Disk

from build.__main__ import app as build_app
from slipway.__main__ import app as slipway_app
from slipway.contract.command import run_command

SAYS = {
    "ENOSPC": "No space left on device",
    "EIO": "dmesg says more",
    "MemoryError": "memory ran out; end other programs",
}
Contents = dict[str, bytes | None]


@dataclass(frozen=True)
class Case:
    """prepare: makes the state before, in the current folder. words: the command.

    writes: the files and folders that it replaces. rounds: in each, every point fails in another way.
    """

    prepare: Callable[[], object]
    app: typer.Typer
    words: tuple[str, ...]
    writes: tuple[str, ...]
    rounds: int = 1


def write_recipe(batch: int) -> None:
    values = {
        "name": "tiny",
        "checkpoint": str(Path("checkpoint").resolve()),
        "target": "tensorrt-llm-llmapi",
        "quantization": "none",
        "limits": {"max_batch_size": batch},
    }
    Path("tiny.yaml").write_text(yaml.safe_dump(values))


def an_engine() -> None:
    tiny.write(Path("checkpoint"), shards=2)
    write_recipe(2)
    call(build_app, "engine", "tiny.yaml")
    write_recipe(3)


def an_engine_without_its_models() -> None:
    an_engine()
    Path("model_repository").rename("older")
    call(build_app, "engine", "tiny.yaml")
    shutil.rmtree("model_repository")
    Path("older").rename("model_repository")


def an_adapter() -> None:
    tiny.write(Path("checkpoint"))
    folder = Path("adapter")
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1}))
    module = "base_model.model.model.layers.0.mlp.up_proj"
    shapes = {"A": (1, tiny.CONFIG["hidden_size"]), "B": (tiny.CONFIG["intermediate_size"], 1)}
    matrices = {f"{module}.lora_{part}.weight": np.ones(shape, np.float32) for part, shape in shapes.items()}
    save_file(matrices, folder / "adapter_model.safetensors")


def a_converted_checkpoint() -> None:
    tiny.write(Path("checkpoint"))
    call(build_app, "convert", "checkpoint", "converted")


def a_key() -> None:
    call(slipway_app, "keys", "new", "ada")


CASES = {
    "a build over an engine": Case(
        an_engine, build_app, ("engine", "tiny.yaml"), ("engines/tiny", "model_repository/tiny")
    ),
    "the models of an engine": Case(
        an_engine_without_its_models, build_app, ("repository", "engines/tiny"), ("model_repository/tiny",), 3
    ),
    "a merge": Case(
        an_adapter, build_app, ("merge", "checkpoint", "merged", "--adapter", "adapter"), ("merged",)
    ),
    "a conversion": Case(
        a_converted_checkpoint,
        build_app,
        ("convert", "checkpoint", "converted", "--tensor-parallel", "2"),
        ("converted",),
    ),
    "a new key": Case(a_key, slipway_app, ("keys", "new", "bob"), ("keys.yaml",), 3),
    "a revoked key": Case(a_key, slipway_app, ("keys", "revoke", "ada"), ("keys.yaml",), 3),
}


def call(app: typer.Typer, *words: str) -> object:
    """What a command exits with: its status, or the sentence that it ends with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["command", *words])
        with pytest.raises(SystemExit) as ended:
            run_command(app, "command")
    return ended.value.code or 0


def contents(place: Path) -> Contents:
    """What a file or a folder holds; None for a folder. Neither locks, nor the time of a build."""
    paths = [place, *place.rglob("*")] if place.exists() else []
    return {
        str(path.relative_to(place)): _content(path) for path in paths if path.suffix not in (".lock", ".log")
    }


def _content(path: Path) -> bytes | None:
    if path.is_dir():
        return None
    if path.name == "engine.json":
        return json.dumps(json.loads(path.read_bytes()) | {"created": ""}).encode()
    return path.read_bytes()


def without(state: Contents, places: tuple[str, ...]) -> Contents:
    """The rest: neither the places, nor the folders above them."""
    above = {str(parent) for place in places for parent in Path(place).parents}
    return {
        name: content
        for name, content in state.items()
        if name not in above and not any(Path(name).is_relative_to(place) for place in places)
    }


def failures(case: Case, points: int) -> Iterator[tuple[int, str]]:
    for round_ in range(case.rounds):
        yield from zip(range(1, points + 1), islice(cycle(KINDS), round_, None), strict=False)


@pytest.mark.parametrize("name", CASES)
def test_a_write_that_fails_leaves_what_was_there_and_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case, root, saved = CASES[name], tmp_path / "root", tmp_path / "saved"
    root.mkdir()
    monkeypatch.chdir(root)
    case.prepare()
    shutil.copytree(root, saved)
    before, old = contents(root), {place: contents(root / place) for place in case.writes}
    disk = Disk()
    with disk.mounted():
        assert call(case.app, *case.words) == 0
    after, new = contents(root), {place: contents(root / place) for place in case.writes}
    assert without(after, case.writes) == without(before, case.writes)
    assert len(disk.points) > 3

    for point, kind in failures(case, len(disk.points)):
        if contents(root) != before:
            shutil.rmtree(root)
            shutil.copytree(saved, root)
            monkeypatch.chdir(root)
        capsys.readouterr()
        with Disk(point, kind).mounted():
            status = call(case.app, *case.words)
        shown = capsys.readouterr()
        failed = f"{kind} at point {point}, {disk.points[point - 1]}: {shown.err}{status}"
        said = shown.err.splitlines()[-1] if status == 1 else str(status)
        if status == 0:  # shutil copies in another way when its first one fails at once
            assert disk.points[point - 1] == "sendfile", failed
            assert all(contents(root / place) == new[place] for place in case.writes), failed
            continue
        assert SAYS[kind] in said, failed
        assert any(place.split("/")[0] in said for place in case.writes), failed
        assert "Traceback" not in shown.err, failed
        assert "\n" not in said, failed
        assert without(contents(root), case.writes) == without(before, case.writes), failed
        for place in case.writes:
            assert contents(root / place) in (old[place], new[place]), f"{place}: {failed}"

    assert call(case.app, *case.words) == 0
