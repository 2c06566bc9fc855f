"""How far a measurement is, on standard error where somebody watches, and how Ctrl-C ends it."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


def bar_of(counted: ProgressColumn) -> Progress:
    """A bar with its count beside it, gone at the end; nothing in CI and where stderr is not a terminal."""
    console = Console(stderr=True)
    watched = console.is_terminal and "CI" not in os.environ
    columns = (TextColumn("{task.description}"), BarColumn(), counted, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not watched)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt in the block; gevent's loop would print it first."""
    on_ctrl_c = gevent.signal_handler(signal.SIGINT, gevent.getcurrent().throw, KeyboardInterrupt)
    try:
        yield
    finally:
        on_ctrl_c.cancel()


@contextmanager
def shown(total: int) -> Iterator[Callable[[str], None]]:
    """A bar of so many steps while the block runs, to be told what comes next at the start of each.

    Ctrl-C raises KeyboardInterrupt in the block.
    """
    with bar_of(MofNCompleteColumn()) as progress, interruptible():
        bar = progress.add_task("starting", total=total, completed=-1)

        def report(name: str) -> None:
            progress.update(bar, description=name, advance=1)
            gevent.sleep(0)  # where Ctrl-C is heard during work that never waits

        yield report
