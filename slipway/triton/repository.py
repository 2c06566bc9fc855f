"""Lays out the Triton models of a built engine; called by `build` when an engine is in place."""

import shutil
from pathlib import Path

from slipway.contract.manifest import Manifest
from slipway.contract.stage_names import all_names
from slipway.triton import config, models


def root_of(repository: Path) -> Path:
    """The folder that the model repository lies in: where relative paths in its models start."""
    return repository.resolve().parent


def write_repository(engine_dir: Path, repository: Path) -> None:
    """Write the model NAME, and the stages if it is an ensemble, for the engine in `engine_dir`.

    Other engines' models stay as they are. The models are made ready beside the repository (Triton takes
    every folder inside it for a model) and renamed into place, the ensemble last: whatever interrupts this,
    an ensemble that is there is whole. Raises EngineRefused when `engine_dir` has no readable manifest.
    """
    manifest = Manifest.read(engine_dir)
    repository = repository.resolve()  # behind a link may be another disk, to which nothing can be renamed
    repository.mkdir(parents=True, exist_ok=True)
    staging = repository.parent / f".{repository.name}.{manifest.name}"
    shutil.rmtree(staging, ignore_errors=True)
    made = models.of_engine(manifest, _portable(engine_dir, root_of(repository)))
    for model in made:
        _write(model, staging / "new" / model.name)
    (staging / "old").mkdir()
    # Those of an engine that had this name and another target too.
    for name in reversed(all_names(manifest.name)):
        if (repository / name).exists():
            (repository / name).rename(staging / "old" / name)
    for model in made:
        (staging / "new" / model.name).rename(repository / model.name)
    shutil.rmtree(staging)


def _portable(engine_dir: Path, root: Path) -> str:
    """Relative to `root` where it lies inside it, so that a container may mount that elsewhere."""
    absolute = engine_dir.resolve()
    return str(absolute.relative_to(root) if absolute.is_relative_to(root) else absolute)


def _write(model: config.Model, directory: Path) -> None:
    version = directory / "1"  # Triton wants a version folder even of an ensemble, where it stays empty.
    version.mkdir(parents=True)
    (directory / "config.pbtxt").write_text(config.text(model), encoding="utf-8")
    if isinstance(model, config.PythonModel):
        (version / "model.py").write_text(
            '"""The code of this stage is in the installed package."""\n\n'
            f"{model.prelude}from {model.module} import TritonPythonModel\n\n"
            '__all__ = ["TritonPythonModel"]\n',
            encoding="utf-8",
        )
        for name, content in model.files.items():
            (version / name).write_text(content, encoding="utf-8")
