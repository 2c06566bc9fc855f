"""The command `python -m bench soak`: a steady load for minutes, and what is other at its end.

The load is a share of the highest throughput: as few users as reach it. The first and the last fifth of the
time are compared: latencies, throughput, memory and open files.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import gevent
import psutil
import typer
from rich import box
from rich.table import Table
from rich.text import Text

from bench import environment, terminal
from bench.answer import RequestFailed
from bench.faults.servers import ENGINE, SERVE, server
from bench.faults.target import Target
from bench.footprint import Footprint
from bench.measurement import Distribution, summarize
from bench.options import JsonFile, Seed
from bench.run import random_prompts, run_with_progress
from bench.server import Server
from bench.users import LoadResult, LoadSettings
from slipway.triton.repository import write_repository

_USERS = (1, 2, 4, 8, 16, 32)
_TIMEOUT_S = 120.0
_LOOK_EVERY_S = 5.0
_PART = 5
# A server that keeps more than this has a leak.
_MAX_GROWTH = 1.02
_SPARE_HANDLES = 8


@dataclass(frozen=True, slots=True)
class Part:
    """A fifth of the time. Latencies are None without answers."""

    ttft_s: Distribution | None
    e2e_s: Distribution | None
    output_tokens_per_s: float
    memory: float
    handles: float


@dataclass(frozen=True, slots=True)
class Look:
    """What the server held at a time, in seconds since the load began."""

    at_s: float
    held: Footprint


def soak(
    url: Annotated[
        str | None,
        typer.Option(help="A server on this machine; without, one of the sample engine is started."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long.")] = 5.0,
    users: Annotated[
        int | None,
        typer.Option(min=1, help="Users at once.", show_default="as few as reach the share"),
    ] = None,
    share: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of the highest throughput that the users reach.")
    ] = 0.8,
    find_seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds for each number of users, to find the throughput.")
    ] = 10.0,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Length of the prompts, about.")] = 128,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens per answer.")] = 64,
    seed: Seed = 0,
    json_file: JsonFile = None,
) -> None:
    """Load a server for minutes, and compare the end with the beginning.

    It ends with status 1 when a request failed, or memory or open files grew.

    - `python -m bench soak --minutes 20` starts `slipway serve` with the sample engine.
    - `python -m bench soak --url http://127.0.0.1:9000` takes a running server of this machine.
    """
    with _server(url) as address:
        try:
            model = Server(address, _TIMEOUT_S).first_model()
            body = {"model": model, "max_tokens": max_tokens, "temperature": 0}
            prompts = random_prompts(Server(address, _TIMEOUT_S), body, prompt_tokens, seed)
        except RequestFailed as error:
            terminal.print_error(f"{str(error).rstrip('.')}.")
            raise typer.Exit(1) from None
        process = Target(address, model).process()
        load = _Load(address, body, prompts, max_tokens)
        users = users or _find_users(load, find_seconds, share)
        print(f"{minutes:g} minutes with {users} users", file=sys.stderr, flush=True)
        result, looks = _watched(load.settings(users, 60 * minutes), process)
    first, last = (_part(result, looks, start) for start in (0.0, result.window_s * (1 - 1 / _PART)))
    failures = summarize(result.samples, result.window_s).failures
    title = f"{model}, {users} users, {result.window_s / 60:.1f} min"
    terminal.print_report(_table(title, first, last))
    broken = [f"{count} requests failed: {reason}" for reason, count in failures.items()]
    broken += _growth(first, last)
    for each in broken:
        terminal.print_error(each)
    if json_file:
        figures = {
            "users": users,
            "first": asdict(first),
            "last": asdict(last),
            "broken": broken,
        }
        document = {
            **figures,
            "environment": environment.describe(),
            "looks": [asdict(each) for each in looks],
        }
        json_file.write_text(json.dumps(document) + "\n", encoding="utf-8")
    if broken:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Load:
    """The requests of all users."""

    url: str
    body: dict[str, Any]
    prompts: Iterator[str]
    max_tokens: int

    def settings(self, users: int, seconds: float) -> LoadSettings:
        """For this many users, all of whom start within a second."""
        asked = {**self.body, "ignore_eos": True, "stream_options": {"include_usage": True}}
        return LoadSettings(self.url, asked, self.prompts, self.max_tokens, users, users, seconds, _TIMEOUT_S)


@contextmanager
def _server(url: str | None) -> Iterator[str]:
    """The address of the server, which is started where there is none."""
    if url is not None:
        yield url.rstrip("/").removesuffix("/v1")
        return
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "model_repository"
        write_repository(ENGINE, repository)
        with server(SERVE, repository) as running:
            yield running.clients.url


def _find_users(load: _Load, seconds: float, share: float) -> int:
    """The fewest users that reach the share of the highest throughput."""
    rates: dict[int, float] = {}
    for users in _USERS:
        result = run_with_progress(load.settings(users, seconds))
        rates[users] = summarize(result.samples, result.window_s).output_tokens_per_s
        print(f"{users} users: {rates[users]:.0f} tokens/s", file=sys.stderr, flush=True)
    best = max(rates.values())
    return next(users for users, rate in rates.items() if rate >= share * best)


def _watched(settings: LoadSettings, process: psutil.Process) -> tuple[LoadResult, list[Look]]:
    """Run the load, and look at the server every few seconds."""
    looks: list[Look] = []

    def look() -> None:
        while True:
            looks.append(Look(_LOOK_EVERY_S * len(looks), Footprint.of(process)))
            gevent.sleep(_LOOK_EVERY_S)

    looking = gevent.spawn(look)
    try:
        return run_with_progress(settings), looks
    finally:
        looking.kill()


def _part(result: LoadResult, looks: list[Look], start_s: float) -> Part:
    """The fifth of the time that begins at `start_s`."""
    length = result.window_s / _PART

    def within(at_s: float) -> bool:
        return start_s <= at_s <= start_s + length

    samples = [sample for sample in result.samples if within(sample.ended_s) and sample.failure is None]
    held = [each.held for each in looks if within(each.at_s)] or [looks[-1].held]
    return Part(
        Distribution.of(sample.ttft_s for sample in samples),
        Distribution.of(sample.e2e_s for sample in samples),
        sum(sample.output_tokens for sample in samples) / length if length else 0.0,
        median(each.memory for each in held),
        median(each.handles for each in held),
    )


def _growth(first: Part, last: Part) -> list[str]:
    found = []
    if last.memory > _MAX_GROWTH * first.memory:
        found.append(f"Memory grew from {first.memory / 1e6:.0f} to {last.memory / 1e6:.0f} MB.")
    if last.handles > first.handles + _SPARE_HANDLES:
        found.append(f"Open files grew from {first.handles:.0f} to {last.handles:.0f}.")
    return found


def _table(title: str, first: Part, last: Part) -> Table:
    table = Table(box=box.SIMPLE, title=Text(title), title_justify="left")
    for name in ("", "first fifth", "last fifth", "ratio"):
        table.add_column(name, justify="right" if name else "left")
    rows: list[tuple[str, float | None, float | None, str]] = [
        (f"{name} {at}, ms", _milliseconds(before, at), _milliseconds(after, at), ".0f")
        for name, before, after in (("TTFT", first.ttft_s, last.ttft_s), ("E2E", first.e2e_s, last.e2e_s))
        for at in ("p50", "p99")
    ]
    rows += [
        ("output tokens/s", first.output_tokens_per_s, last.output_tokens_per_s, ".1f"),
        ("memory, MB", first.memory / 1e6, last.memory / 1e6, ".0f"),
        ("open files", first.handles, last.handles, ".0f"),
    ]
    for name, before, after, form in rows:
        shown = ["-" if value is None else format(value, form) for value in (before, after)]
        table.add_row(name, *shown, f"{after / before:.3f}" if before and after is not None else "-")
    return table


def _milliseconds(distribution: Distribution | None, at: str) -> float | None:
    return None if distribution is None else 1000 * float(getattr(distribution, at))
