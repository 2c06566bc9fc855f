"""Runs servers until Ctrl-C: starts them one after another, and starts again what dies or hangs."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from slipway.contract.errors import ServerFailed
from slipway.serve.interruption import Interrupted, Interruption
from slipway.serve.part import Part, Program

_POLL_S = 0.1
_START_POLL_S = 0.2


def supervise(programs: Sequence[Program], console: Console, on_ready: Callable[[], None]) -> None:
    """Run the programs until interrupted; each starts when the one before it serves.

    on_ready: called when all serve. Raises ServerFailed when one cannot start or dies again and again. None
    is left running. They end in the reverse order, so a server ends after its clients.
    """
    interruption = Interruption()
    parts = [Part(program) for program in programs]
    try:
        for number, part in enumerate(parts):
            _start(part, parts[:number], console, interruption)
        on_ready()
        while True:
            _tick(parts, console)
            interruption.pause(_POLL_S)
    except Interrupted:
        for part in reversed(parts):
            part.end(interruption)
        console.print("Stopped.")
    finally:
        for part in reversed(parts):
            part.kill()


def short(path: Path) -> Path:
    """Relative to the working directory where it lies in there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _start(part: Part, others: Sequence[Part], console: Console, interruption: Interruption) -> None:
    """Start a part and wait until it serves. Raises ServerFailed, Interrupted."""
    name, log = part.program.name, part.program.log
    title, where = f"{name} starts", "" if log is None else f"log: {short(log)}"
    if log is not None:
        log.unlink(missing_ok=True)
    if not console.is_terminal:
        console.print(f"{title} ({where})" if where else title)
    shown, began = "", time.monotonic()
    part.start()
    with console.status(title) as status:
        while (reason := part.wait_step()) is not None:
            for other in others:
                other.tick()
            if reason not in ("", shown):
                console.print(f"Not ready: {reason}")
                shown = reason
            status.update(f"{title} ({time.monotonic() - began:.0f} s; {where})")
            interruption.pause(_START_POLL_S)


def _tick(parts: Sequence[Part], console: Console) -> None:
    for part in parts:
        name = part.program.name
        try:
            if part.tick():
                console.print(f"{name} serves again.")
        except ServerFailed as failure:
            pause = part.restart_after(failure)
            when = f"in {pause:.0f} s" if pause else "now"
            console.print(f"{failure}\n{name} is started again {when}.")
