"""The model repository: the folder of models that Triton serves."""

import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

from google.protobuf.text_format import ParseError

from slipway.contract.disk_errors import writing
from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import Manifest
from slipway.contract.stage_names import all_names
from slipway.contract.whole_files import rename_all
from slipway.triton import config, engine_folder, models


def write_repository(engine_dir: Path, repository: Path) -> None:
    """Write the model NAME, and the stages if it is an ensemble, for the engine in `engine_dir`.

    Other engines' models stay as they are. The models are written beside the repository (Triton takes every
    folder inside it for a model) and renamed into place, the ensemble last. So an ensemble that is in the
    repository is complete, also after an interruption. Raises EngineRefused when `engine_dir` has no readable
    manifest, and NotWritten when the disk is full; the models that were there are then back.
    """
    manifest = Manifest.read(engine_dir)
    place = repository.resolve()  # behind a link may be another disk, to which nothing can be renamed
    staging = place.parent / f".{place.name}.{manifest.name}"
    shutil.rmtree(staging, ignore_errors=True)
    made = models.of_engine(manifest, engine_folder.written(engine_dir, place))
    with writing(repository), ExitStack() as left:
        left.callback(shutil.rmtree, staging, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        for model in made:
            _write(model, staging / "new" / model.name)
        (staging / "old").mkdir()
        # Also the models of an engine that had this name and another target.
        there = [name for name in reversed(all_names(manifest.name)) if (place / name).exists()]
        rename_all(
            [
                *((place / name, staging / "old" / name) for name in there),
                *((staging / "new" / model.name, place / model.name) for model in made),
            ]
        )


def engines(repository: Path) -> list[Manifest]:
    """The manifests of the engines in a repository, by name.

    One that cannot be read is left out; Triton gives the reason when it loads it.
    """
    found: dict[str, Manifest] = {}
    for path in sorted(repository.glob("*/config.pbtxt")):
        with suppress(EngineRefused, ParseError, OSError):
            directory = config.read(path).parameters[engine_folder.PARAMETER].string_value
            if directory and directory not in found:
                found[directory] = Manifest.read(engine_folder.root_of(repository) / directory)
    return sorted(found.values(), key=lambda manifest: manifest.name)


def compiled_engines(repository: Path) -> list[Manifest]:
    """The manifests of the TensorRT-LLM engines in a repository, by name."""
    return [manifest for manifest in engines(repository) if manifest.target.compiled]


def _write(model: config.TritonModel, directory: Path) -> None:
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
