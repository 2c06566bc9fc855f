"""All faults one after another, on both backends: `make faults`."""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from bench.faults.client_faults import MAX_QUEUE, client_faults, send_hostile_messages
from bench.faults.draining import drain
from bench.faults.dying_parts import FAULTS, Fault, outcome_of
from bench.faults.held import Held
from bench.faults.hostile_templates import ATTACKS, hostile_engine
from bench.faults.outcome import HEADER, Outcome
from bench.faults.servers import ENGINE, LOCAL, SERVE, server
from bench.faults.target import Target
from slipway.contract.errors import SlipwayError
from slipway.triton.repository import write_repository

# Long enough to run when the signal comes, and a drain that is longer on any machine.
_STREAMS, _STREAM_TOKENS = 16, 200
_DRAIN = "--drain-timeout=180"
_QUEUE = (f"--max-queue={MAX_QUEUE}",)
# What is asked to end while streams run, and its options.
_DRAINS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (LOCAL, (_DRAIN,)),
    (SERVE, (_DRAIN,)),
    (f"{SERVE} --workers 2", (_DRAIN, "--workers=2")),
)


def do_everything(names: Sequence[str], bodies: int) -> int:
    """Do the faults whose titles contain one of `names`, or all; print a row for each.

    Returns how many targets were broken that are none of time.
    """
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        write_repository(ENGINE, repository)
        broken = [
            *_by_clients(names, repository, bodies),
            *_by_templates(names, repository, Path(folder)),
            *_by_drains(names, repository),
            *_by_dying_parts(names, repository),
        ]
    for each in broken:
        print(f"Broken: {each}", file=sys.stderr)
    return len(broken)


def _by_clients(names: Sequence[str], repository: Path, bodies: int) -> Iterator[str]:
    for kind in (LOCAL, SERVE):
        chosen = {name: do for name, do in client_faults(bodies).items() if _wanted(names, kind, name)}
        if not chosen:
            continue
        with server(kind, repository, _QUEUE) as running:
            running.clients.ask()
            for name, do in chosen.items():
                with _step(kind, name):
                    before = Held.by(running.target)
                    outcome = _outcome(do, running.target)
                    after = before if running.process.poll() is not None else before.after(running.target)
                outcome = replace(outcome, broken=(*outcome.broken, *after.leaks(before)))
                print(outcome.row(kind, name, before, after), flush=True)
                yield from (f"{kind}, {name}: {what}" for what in outcome.broken)


def _by_templates(names: Sequence[str], repository: Path, folder: Path) -> Iterator[str]:
    name = f"{len(ATTACKS)} messages at which a chat template does harm"
    if not _wanted(names, LOCAL, name):
        return
    hostile = hostile_engine(ENGINE, folder)
    with _step(LOCAL, name), server(LOCAL, repository, (f"--engine={hostile}",)) as running:
        running.clients.ask()
        target = replace(running.target, model=hostile.name)
        before = Held.by(target)
        outcome = _outcome(send_hostile_messages, target)
        after = before.after(target)
    outcome = replace(outcome, broken=(*outcome.broken, *after.leaks(before)))
    print(outcome.row(LOCAL, name, before, after), flush=True)
    yield from (f"{LOCAL}, {name}: {what}" for what in outcome.broken)


def _outcome(do: Callable[[Target], Awaitable[Outcome]], target: Target) -> Outcome:
    async def done() -> Outcome:
        return await do(target)

    try:
        return asyncio.run(done())
    except httpx.HTTPError as error:
        return Outcome(f"a small question failed: {error!r}", (f"a small question failed: {error!r}",))


def _by_drains(names: Sequence[str], repository: Path) -> Iterator[str]:
    name = f"SIGTERM with {_STREAMS} streams"
    for title, options in _DRAINS:
        if not _wanted(names, title, name):
            continue
        with _step(title, name), server(title.partition(" --")[0], repository, options) as running:
            drained = drain(running, _STREAMS, _STREAM_TOKENS)
        done = drained.ends.count("done") - drained.short
        broken = [f"{_STREAMS - done} streams cut"] if done < _STREAMS else []
        broken += [f"exit status {drained.status}"] if drained.status else []
        unready = "at its end" if drained.unready_s is None else f"after {drained.unready_s:.1f} s"
        how = ", ".join(f"{count} x {end}" for end, count in Counter(drained.ends).items())
        saw = f"{how}, {done} whole; not ready {unready}; ended after {drained.ended_s:.1f} s"
        print(f"| `{title}` | {name} | {saw} | | | | |", flush=True)
        yield from (f"{title}, {name}: {what}" for what in broken)


def _by_dying_parts(names: Sequence[str], repository: Path) -> Iterator[str]:
    for kind, faults in FAULTS.items():
        for fault in faults:
            if _wanted(names, kind, fault.name):
                yield from _by_dying_part(kind, fault, repository)


def _by_dying_part(kind: str, fault: Fault, repository: Path) -> Iterator[str]:
    with _step(kind, fault.name), server(kind, repository) as running:
        running.clients.ask()
        before = Held.by(running.target)
        try:
            outcome = outcome_of(fault, running)
        except SlipwayError as error:
            outcome = Outcome(str(error), (str(error),))
        after = before.after(running.target) if fault.recovers else before
    outcome = replace(outcome, broken=(*outcome.broken, *after.leaks(before)))
    print(outcome.row(kind, fault.name, before, after), flush=True)
    yield from (f"{kind}, {fault.name}: {what}" for what in outcome.broken)


def _wanted(names: Sequence[str], kind: str, fault: str) -> bool:
    return not names or any(each in f"{kind}: {fault}" for each in names)


@contextmanager
def _step(kind: str, fault: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"{kind}: {fault} …", file=sys.stderr, flush=True)
    yield
    print(f"{kind}: {fault} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
