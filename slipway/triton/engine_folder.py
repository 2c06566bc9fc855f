"""Where the engine of a model lies: a parameter in its config.pbtxt, relative to the folder above."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

PARAMETER = "engine_dir"


def root_of(repository: Path) -> Path:
    """The folder that the model repository lies in: relative paths in its models start here."""
    return repository.resolve().parent


def written(engine_dir: Path, repository: Path) -> str:
    """The path as a parameter: relative where it lies below the root, so that a container may mount that."""
    absolute, root = engine_dir.resolve(), root_of(repository)
    return str(absolute.relative_to(root) if absolute.is_relative_to(root) else absolute)


def of_stage(args: Mapping[str, str]) -> Path:
    """The folder of the engine, from the arguments of a stage's `initialize`."""
    parameter: str = json.loads(args["model_config"])["parameters"][PARAMETER]["string_value"]
    # Triton's Python takes the names of files for ASCII, whatever the locale.
    return root_of(Path(args["model_repository"]).parent) / os.fsdecode(parameter.encode())
