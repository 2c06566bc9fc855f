"""Copies of large files that take no room."""

import os
import shutil
from pathlib import Path


def linked(file: Path, copy: Path) -> None:
    """Make `copy` the same file. Unlink it before it is written anew.

    A hard link, because an engine's files must not be links that lead out of its folder.
    """
    try:
        os.link(file.resolve(), copy)
    except OSError:  # on another disk
        shutil.copy(file, copy)
