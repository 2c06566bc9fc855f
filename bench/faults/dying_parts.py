"""Parts of a server that are killed or stopped, and what its clients see of it."""

import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.faults import processes
from bench.faults.clients import Seen
from bench.faults.outcome import Outcome
from bench.faults.servers import ENGINE, LOCAL, MODEL, OWN_TRITON, SERVE, Server, server
from slipway.contract import stage_names
from slipway.triton.repository import write_repository

_STREAMS = 4
_KILL, _STOP = psutil.Process.kill, psutil.Process.suspend


@dataclass(frozen=True)
class Fault:
    """What is done to which process. patience_s: until answers must flow again.

    recovers: whether they do; nothing starts the parts of a Triton of the user's own again.
    """

    name: str
    find: processes.Find
    act: Callable[[psutil.Process], None]
    patience_s: float = 60.0
    recovers: bool = True


_STAGES = {
    "preprocessing": stage_names.preprocessing(MODEL),
    "engine": stage_names.engine_stage(MODEL),
    "postprocessing": stage_names.postprocessing(MODEL),
}
_WORKER = (
    Fault("worker killed", processes.engine_worker, _KILL),
    Fault("worker stopped", processes.engine_worker, _STOP),
)
FAULTS = {
    LOCAL: _WORKER,
    SERVE: (
        *_WORKER,
        *(Fault(f"stub of {name} killed", processes.stub(stage), _KILL) for name, stage in _STAGES.items()),
        *(Fault(f"stub of {name} stopped", processes.stub(stage), _STOP) for name, stage in _STAGES.items()),
        Fault("tritonserver killed", processes.triton, _KILL),
        Fault("tritonserver stopped", processes.triton, _STOP, 120.0),
        Fault("gateway killed", processes.gateway, _KILL),
    ),
    OWN_TRITON: tuple(
        Fault(f"stub of {name} killed", processes.stub(stage), _KILL, 15.0, recovers=False)
        for name, stage in _STAGES.items()
        if name != "preprocessing"  # running answers do not need it any more, and go on
    ),
}


def measure_parts(names: Sequence[str], runs: int) -> None:
    """Do the faults whose titles contain one of `names`, or all, and print a row for each.

    A row has the medians of `runs` runs.
    """
    print("| server | fault | not ready | streams ended | how | answers again | ready again |")
    print("|---|---|---|---|---|---|---|", flush=True)
    chosen = [
        (kind, fault)
        for kind, faults in FAULTS.items()
        for fault in faults
        if not names or any(each in f"{kind}: {fault.name}" for each in names)
    ]
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        write_repository(ENGINE, repository)
        for kind, fault in chosen:
            seen = [_seen_at(kind, fault, repository) for _ in range(runs)]
            print(_row(kind, fault.name, seen), flush=True)


def outcome_of(fault: Fault, running: Server) -> Outcome:
    """Do the fault, and judge what clients saw."""
    seen = _seen(fault, running)
    ends = Counter(seen.ends)
    broken = [f"{ends['done']} streams passed as complete"] if ends["done"] else []
    broken += ["a wrong answer"] if seen.wrong else []
    broken += ["no answers again"] if fault.recovers and seen.answer_s is None else []
    how = ", ".join(f"{count} x {end}" for end, count in ends.items())
    times = f"not ready after {_seconds(seen.unready_s)}, streams ended after {_seconds(seen.streams_s)}"
    return Outcome(f"{how}; {times}", tuple(broken), seen.answer_s)


def _seen_at(kind: str, fault: Fault, repository: Path) -> Seen:
    """On a server of its own, because one that fails again waits longer before it starts again."""
    with server(kind, repository) as running:
        return _seen(fault, running)


def _seen(fault: Fault, running: Server) -> Seen:
    victim = fault.find(running.root)
    return running.clients.watch(lambda: fault.act(victim), _STREAMS, fault.patience_s)


def _row(kind: str, fault: str, seen: Sequence[Seen]) -> str:
    ends = sorted({end for each in seen for end in each.ends})
    if wrong := sum(each.wrong for each in seen):
        ends.append(f"{wrong} wrong answers")
    columns = [
        *(_median([each.unready_s for each in seen]), _median([each.streams_s for each in seen])),
        ", ".join(ends),
        *(_median([each.answer_s for each in seen]), _median([each.ready_s for each in seen])),
    ]
    return f"| `{kind}` | {fault} | " + " | ".join(columns) + " |"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _median(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    missing = "" if len(known) == len(values) else f" ({len(values) - len(known)} never)"
    return f"{statistics.median(known):.1f} s{missing}" if known else "never"
