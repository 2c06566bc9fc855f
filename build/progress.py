"""Progress on stderr: a bar in a terminal, one plain line per step elsewhere. Results go to stdout."""

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

console = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Print one line."""
    console.print(message, markup=False)


@contextmanager
def step(
    title: str, total: float, unit: Literal["bytes", "parts"] = "parts"
) -> Iterator[Callable[[float], None]]:
    """Show one step of the work; yields a function to call with each amount done.

    The bar stays on the screen when the step is done, so that the time of each step can be read. In CI and
    where stderr is not a terminal, the title is printed at the start and nothing after it.
    """
    if not console.is_terminal or "CI" in os.environ:
        say(title)
        yield lambda amount: None
        return
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        DownloadColumn() if unit == "bytes" else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total)
        yield lambda amount: progress.advance(task, amount)
