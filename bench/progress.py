"""How far a measurement is, on standard error where somebody watches; used by the commands in process."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def shown(total: int) -> Iterator[Callable[[str], None]]:
    """A bar of so many steps while the block runs, to be told what comes next at the start of each.

    Ctrl-C raises KeyboardInterrupt in the block.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("starting", total=total, completed=-1)
        # gevent's loop would print the interrupt before it raised it.
        on_ctrl_c = gevent.signal_handler(signal.SIGINT, gevent.getcurrent().throw, KeyboardInterrupt)
        try:
            yield lambda name: progress.update(bar, description=name, advance=1)
        finally:
            on_ctrl_c.cancel()
