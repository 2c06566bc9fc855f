"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer


def _check_folder(file: Path | None) -> Path | None:
    """Refuse a file that cannot be written, before anything is measured."""
    if file and not file.parent.is_dir():
        raise typer.BadParameter(f"the folder {file.parent} does not exist.")
    return file


JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        dir_okay=False,
        callback=_check_folder,
        help="Write figures, environment and raw samples to this file.",
    ),
]
Rounds = Annotated[int, typer.Option(min=1, help="How often every measurement is repeated.")]
Seed = Annotated[int, typer.Option(help="Seed of the prompts and of their order.")]


def tokenizer_file(engine: Path) -> Path:
    """The tokenizer file of an engine.

    Raises typer.BadParameter when it is missing.
    """
    file = engine / "tokenizer.json"
    if not file.is_file():
        raise typer.BadParameter(f"{file} is missing: build the engine with `make engine`.")
    return file
