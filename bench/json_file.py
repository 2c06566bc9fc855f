"""The `--json` option of both bench commands: where figures and raw samples go."""

from pathlib import Path
from typing import Annotated

import typer


def _in_a_folder(file: Path | None) -> Path | None:
    """Refuse before anything is measured what could not be written at the end."""
    if file and not file.parent.is_dir():
        raise typer.BadParameter(f"the folder {file.parent} does not exist.")
    return file


JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        dir_okay=False,
        callback=_in_a_folder,
        help="Write figures, environment and raw samples to this file.",
    ),
]
