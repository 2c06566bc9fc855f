"""The terminal: reports, messages, progress bars, and Ctrl-C."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

INTERRUPTED = "Interrupted: these are the figures so far."
MAX_TABLE_WIDTH = 200


def print_error(message: str) -> None:
    """One sentence in red, in one line whatever the terminal's width."""
    _print(message, "red")


def print_warning(message: str) -> None:
    """One sentence in yellow, in one line whatever the terminal's width."""
    _print(message, "yellow")


def _print(message: str, style: str) -> None:
    Console(stderr=True, soft_wrap=True).print(message, style=style, markup=False, highlight=False)


def print_report(report: RenderableType) -> None:
    """A report on standard output. In a pipe or a file, tables have their natural width."""
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = MAX_TABLE_WIDTH
    console.print(report)


def progress_bar(count: ProgressColumn) -> Progress:
    """A bar with `count` beside it, removed at the end; silent in CI and where stderr is no terminal."""
    console = Console(stderr=True)
    visible = console.is_terminal and "CI" not in os.environ
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not visible)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt in the block; without this, gevent's loop prints it first."""
    on_ctrl_c = gevent.signal_handler(signal.SIGINT, gevent.getcurrent().throw, KeyboardInterrupt)
    try:
        yield
    finally:
        on_ctrl_c.cancel()


@contextmanager
def step_progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar of `total` steps during the block. It yields a function that takes the name of the next step.

    Ctrl-C raises KeyboardInterrupt in the block.
    """
    with progress_bar(MofNCompleteColumn()) as progress, interruptible():
        bar = progress.add_task("starting", total=total, completed=-1)

        def report(step: str) -> None:
            progress.update(bar, description=step, advance=1)
            gevent.sleep(0)  # gevent delivers Ctrl-C here during work that never waits

        yield report
