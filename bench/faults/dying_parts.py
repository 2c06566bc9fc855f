"""Parts of a server that are killed or stopped, and what its clients see of it."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.faults import processes
from bench.faults.clients import Clients, Seen
from slipway.contract import stage_names
from slipway.triton.repository import write_repository

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "engines" / "smollm2-135m-int4"
_PORT = 19000
_START_S = 120.0
_STREAMS = 4
_KILL, _STOP = psutil.Process.kill, psutil.Process.suspend


@dataclass(frozen=True)
class Fault:
    """What is done to which process. patience_s: until answers must flow again."""

    name: str
    find: processes.Find
    act: Callable[[psutil.Process], None]
    patience_s: float = 60.0


_MODEL = ENGINE.name
_STAGES = {
    "preprocessing": stage_names.preprocessing(_MODEL),
    "engine": stage_names.engine_stage(_MODEL),
    "postprocessing": stage_names.postprocessing(_MODEL),
}
LOCAL = (
    Fault("worker killed", processes.engine_worker, _KILL),
    Fault("worker stopped", processes.engine_worker, _STOP),
)
SERVE = (
    *LOCAL,
    *(Fault(f"stub of {name} killed", processes.stub(stage), _KILL) for name, stage in _STAGES.items()),
    *(Fault(f"stub of {name} stopped", processes.stub(stage), _STOP) for name, stage in _STAGES.items()),
    Fault("tritonserver killed", processes.triton, _KILL),
    Fault("tritonserver stopped", processes.triton, _STOP, 120.0),
    Fault("gateway killed", processes.gateway, _KILL),
)
COMMANDS = {
    "gateway": ["--engine", str(ENGINE), "--port", str(_PORT)],
    "serve": [
        *("--port", str(_PORT), "--triton-http-port", str(_PORT + 1)),
        *("--triton-grpc-port", str(_PORT + 2), "--triton-metrics-port", str(_PORT + 3)),
    ],
}
FAULTS = {"gateway": LOCAL, "serve": SERVE}


@contextmanager
def server(command: str, repository: Path) -> Iterator[tuple[psutil.Process, Clients]]:
    """`slipway gateway` or `slipway serve` with the sample engine, ready. repository: of Triton."""
    started = [sys.executable, "-m", "slipway", command, *COMMANDS[command]]
    if command == "serve":
        started.append(f"--model-repository={repository}")
    process = subprocess.Popen(started, cwd=ROOT, stdout=subprocess.DEVNULL)
    clients = Clients(f"http://127.0.0.1:{_PORT}", _MODEL)
    try:
        deadline = time.monotonic() + _START_S
        while not clients.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"slipway {command} is not ready; its own messages are above.")
            time.sleep(0.1)
        yield psutil.Process(process.pid), clients
    finally:
        process.terminate()
        process.wait()


def measure_parts(names: Sequence[str], runs: int) -> None:
    """Do the faults whose titles contain one of `names`, or all, and print a row for each.

    A row has the medians of `runs` runs.
    """
    print("| server | fault | not ready | streams ended | how | answers again | ready again |")
    print("|---|---|---|---|---|---|---|", flush=True)
    chosen = [
        (command, fault)
        for command, faults in FAULTS.items()
        for fault in faults
        if not names or any(each in f"{command}: {fault.name}" for each in names)
    ]
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        write_repository(ENGINE, repository)
        for command, fault in chosen:
            seen = [_seen(command, fault, repository) for _ in range(runs)]
            print(_row(command, fault.name, seen), flush=True)


def _seen(command: str, fault: Fault, repository: Path) -> Seen:
    """On a server of its own, because one that fails again waits longer before it starts again."""
    with server(command, repository) as (process, clients):
        victim = fault.find(process)
        return clients.watch(lambda: fault.act(victim), _STREAMS, fault.patience_s)


def _row(name: str, fault: str, seen: Sequence[Seen]) -> str:
    ends = sorted({end for each in seen for end in each.ends})
    if wrong := sum(each.wrong for each in seen):
        ends.append(f"{wrong} wrong answers")
    columns = [
        *(_median([each.unready_s for each in seen]), _median([each.streams_s for each in seen])),
        ", ".join(ends),
        *(_median([each.answer_s for each in seen]), _median([each.ready_s for each in seen])),
    ]
    return f"| `slipway {name}` | {fault} | " + " | ".join(columns) + " |"


def _median(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    missing = "" if len(known) == len(values) else f" ({len(values) - len(known)} never)"
    return f"{statistics.median(known):.1f} s{missing}" if known else "never"
