"""One gateway process against an engine that takes no time, round by round; held by `bench.frontend`.

Every gateway has one core to itself; the stand-in (`bench.instant_triton`) and the clients
(`bench.streaming_clients`) share the others. Definitions:

Load: what the clients ask in one measurement, see `Load`. Round: every load once in every way, interleaved;
    the order moves on by one each time.
Before the rounds every gateway runs the loads without pauses, unmeasured, to be warm.
Way: a gateway between clients and stand-in, or none: then the clients ask the stand-in over gRPC, which says
    what stand-in and clients alone can do.
CPU: user and system seconds of the gateway's process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from bench.contest import rotated
from bench.contestant import ROOT
from bench.instant_triton import HOST, plan
from bench.over_http import free_port, wait_until_ready

NO_GATEWAY = "direct"


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked at the same time.

    each: answers of a client, one after another. apart_s: between the first requests of two clients.
    messages, tokens_per_message, pause_s: of an answer, after its first message, which has one token.
    """

    name: str
    clients: int
    messages: int
    tokens_per_message: int = 1
    pause_s: float = 0.0
    each: int = 1
    apart_s: float = 0.0

    @property
    def max_tokens(self) -> int:
        """Tokens of an answer."""
        return 1 + self.messages * self.tokens_per_message


@dataclass(frozen=True, slots=True)
class Sample:
    """One load run once, in one way, in one round. ttft_s: median of the answers. cpu_s: of the gateway."""

    way: str
    load: str
    round: int
    seconds: float
    tokens: int
    events: int
    answers: int
    cpu_s: float
    ttft_s: float
    gap_p99_s: float | None

    @property
    def tokens_per_s(self) -> float:
        """Output tokens of all answers over the seconds until the last one ended."""
        return self.tokens / self.seconds


@dataclass(slots=True)
class Rounds:
    """What happened. pinned: whether the gateways had a core of their own."""

    ways: list[str]
    pinned: bool
    samples: list[Sample] = field(default_factory=list)
    interrupted: bool = False

    def by_round(self, way: str, load: str, figure: Callable[[Sample], float]) -> list[float]:
        """The figure of each round."""
        return [figure(each) for each in self.samples if (each.way, each.load) == (way, load)]


@dataclass(frozen=True, slots=True)
class Gateway:
    """A server that takes part. command: of its process, with {port} and {triton} where the ports stand.

    ready: the path that answers 200 once it serves.
    """

    command: tuple[str, ...]
    folder: Path = ROOT
    ready: str = "/health/ready"


def ours(checkout: Path, engine: Path) -> Gateway:
    """The gateway of a checkout of this repository."""
    asks = ("--backend", "triton", "--triton-url", f"{HOST}:{{triton}}", "--port", "{port}")
    engines = ("--engines", str(engine.parent))
    return Gateway((sys.executable, "-m", "slipway", "gateway", *asks, *engines), checkout)


def vllms(python: Path, checkpoint: Path, engine: Path) -> Gateway:
    """VLLM's server, run by a Python that has it."""
    program = str(ROOT / "bench" / "peers" / "vllm_frontend.py")
    return Gateway((str(python), program, str(checkpoint), engine.name, "{port}"), ready="/health")


def hold(
    model: str,
    gateways: dict[str, Gateway],
    loads: Sequence[Load],
    rounds: int,
    report: Callable[[str], None],
) -> Rounds:
    """Start everything, run the rounds, end everything. gateways: by name."""
    ways = [*gateways, NO_GATEWAY]
    one, others = _cores()
    held = Rounds(ways, pinned=bool(one))
    with ExitStack() as processes:
        try:
            triton = free_port()
            stand_in = (sys.executable, "-m", "bench.instant_triton", str(triton))
            processes.enter_context(_process(stand_in, ROOT, others))
            asking = (sys.executable, "-m", "bench.streaming_clients")
            clients = processes.enter_context(_process(asking, ROOT, others))
            running: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
            for name, taking_part in gateways.items():
                report(f"starting {name}")
                port = free_port()
                command = [word.format(port=port, triton=triton) for word in taking_part.command]
                gateway = processes.enter_context(_process(command, taking_part.folder, one))
                wait_until_ready(gateway, f"http://{HOST}:{port}{taking_part.ready}")
                running[name] = gateway, port
                for load in (each for each in loads if not each.pause_s):
                    _run(clients, gateway, port, model, load, name, 0)
            for number in range(rounds):
                for turn, load in enumerate(loads):
                    for way in rotated(ways, number + turn):
                        report(f"round {number + 1}: {load.name}, {way}")
                        gateway, port = running.get(way, (None, triton))
                        held.samples.append(_run(clients, gateway, port, model, load, way, number))
        except KeyboardInterrupt:
            held.interrupted = True
    return held


def _run(
    clients: "subprocess.Popen[bytes]",
    gateway: "subprocess.Popen[bytes] | None",
    port: int,
    model: str,
    load: Load,
    way: str,
    number: int,
) -> Sample:
    asked = {
        "way": "http" if gateway else "grpc",
        "port": port,
        "model": model,
        "prompt": plan(load.tokens_per_message, load.pause_s),
        "max_tokens": load.max_tokens,
        "clients": load.clients,
        "each": load.each,
        "apart_s": load.apart_s,
    }
    before = _cpu_s(gateway)
    said = _answer(clients, asked)
    expected = load.clients * load.each * load.max_tokens
    if said["tokens"] != expected:
        sys.exit(f"{load.name}, {way}: {said['tokens']} tokens came instead of {expected}")
    gaps = said["gaps_s"]
    return Sample(
        way,
        load.name,
        number,
        said["seconds"],
        said["tokens"],
        said["events"],
        len(said["ttft_s"]),
        _cpu_s(gateway) - before,
        median(said["ttft_s"]),
        float(np.percentile(gaps, 99)) if gaps else None,
    )


def _answer(clients: "subprocess.Popen[bytes]", asked: dict[str, Any]) -> dict[str, Any]:
    assert clients.stdin is not None
    assert clients.stdout is not None
    clients.stdin.write(json.dumps(asked).encode() + b"\n")
    clients.stdin.flush()
    said: dict[str, Any] = json.loads(clients.stdout.readline() or '{"failed": "the clients ended"}')
    if "failed" in said:
        sys.exit(f"{asked['way']} answers {said['failed']}")
    return said


@contextmanager
def _process(command: Sequence[str], folder: Path, cores: list[int]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process on these cores (all when empty), ended with the block; what it prints is not shown."""
    # In a session of its own: Ctrl-C reaches this command alone.
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        if cores:
            psutil.Process(process.pid).cpu_affinity(cores)
        yield process
    finally:
        process.terminate()
        process.communicate()


def _cpu_s(process: "subprocess.Popen[bytes] | None") -> float:
    return sum(psutil.Process(process.pid).cpu_times()[:2]) if process else 0.0


def _cores() -> tuple[list[int], list[int]]:
    """A core for the gateway, and the others; none where processes cannot be pinned or there is but one."""
    if not hasattr(os, "sched_getaffinity"):
        return [], []
    first, *others = sorted(os.sched_getaffinity(0))
    return ([first], others) if others else ([], [])
