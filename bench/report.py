"""A run as a table for people and as JSON for programs; called by the command."""

import json
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench import environment
from bench.measurement import Distribution, Summary
from bench.users import Load, Run


def table(summary: Summary, load: Load, run: Run) -> RenderableType:
    """What a run says: throughput, latencies, failures with their reasons, and what makes it doubtful."""
    title = Text(_title(summary, load), style="bold")
    totals = Table(box=box.SIMPLE, show_header=False)
    totals.add_column(style="bold")
    totals.add_column(justify="right")
    totals.add_row("requests", str(summary.requests))
    totals.add_row("failures", Text(str(_failed(summary)), style="red" if summary.failures else ""))
    totals.add_row("output tokens/s", f"{summary.output_tokens_per_s:.1f}")
    totals.add_row("requests/s", f"{summary.requests_per_s:.2f}")
    totals.add_row("prompt tokens, mean", f"{summary.prompt_tokens_mean:.1f}")
    totals.add_row("output tokens, mean", f"{summary.output_tokens_mean:.1f}")

    remarks = [Text(line, style="yellow") for line in _remarks(summary, run)]
    if not summary.requests:
        return Group(title, totals, *remarks)
    latencies = Table(box=box.SIMPLE)
    latencies.add_column("milliseconds", style="bold")
    for name in ("mean", "p50", "p90", "p99"):
        latencies.add_column(name, justify="right")
    for name, distribution in (
        ("TTFT", summary.ttft_s),
        ("TPOT", summary.tpot_s),
        ("E2E", summary.e2e_s),
        ("chunk gap", summary.chunk_gap_s),
    ):
        latencies.add_row(name, *_milliseconds(distribution))
    return Group(title, totals, latencies, *remarks)


def write_json(path: Path, summary: Summary, load: Load, run: Run, model: str) -> None:
    """Write the summary, the settings, the environment and every raw sample."""
    document = {
        "summary": asdict(summary),
        "settings": {
            "url": load.url,
            "model": model,
            "users": load.users,
            "spawn_rate": load.spawn_rate,
            "duration_s": load.duration_s,
            "request": load.body,
        },
        "environment": environment.describe(),
        "interrupted": run.interrupted,
        "generator_busy": run.generator_busy,
        "samples": [asdict(sample) for sample in run.samples],
    }
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _title(summary: Summary, load: Load) -> str:
    users = f"{load.users} user{'' if load.users == 1 else 's'}"
    return f"{load.body['model']} · {users} · {summary.window_s:.1f} s"


def _failed(summary: Summary) -> int:
    return sum(summary.failures.values())


def _milliseconds(distribution: Distribution | None) -> list[str]:
    if distribution is None:
        return ["-"] * 4
    return [
        f"{1000 * value:.1f}"
        for value in (distribution.mean, distribution.p50, distribution.p90, distribution.p99)
    ]


def _remarks(summary: Summary, run: Run) -> list[str]:
    remarks = [f"{count} failed: {reason}" for reason, count in summary.failures.items()]
    if run.interrupted:
        remarks.append("Interrupted: these are the figures up to then.")
    if run.generator_busy:
        remarks.append(
            "bench itself took more than 90 % of a core: the figures may measure it, not the server."
        )
    return remarks
