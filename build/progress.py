"""What a person sees while they wait: a bar in a terminal, one plain line per step elsewhere.

Called by `engine`, `convert`, `genai` and `sample`. All of it goes to stderr; results go to stdout.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Unit = Literal["bytes", "parts"]

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """One line."""
    console.print(message, markup=False)


@contextmanager
def step(title: str, total: float, unit: Unit = "parts") -> Iterator[Callable[[float], None]]:
    """Show one step of the work; yields what to call with each amount done, in bytes or parts.

    The bar stays when the step is done, so that a person sees where the time went. In CI and where stderr
    is not a terminal there is one line at the start and none after.
    """
    if not console.is_terminal or "CI" in os.environ:
        say(title)
        yield lambda amount: None
        return
    counted = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        counted,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)
        yield lambda amount: progress.advance(task, amount)
