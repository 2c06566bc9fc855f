"""The report of a load test: a table for people, JSON for programs."""

import json
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench import environment, terminal
from bench.measurement import Distribution, Summary
from bench.users import LoadResult, LoadSettings


def table(summary: Summary, settings: LoadSettings, result: LoadResult) -> RenderableType:
    """Throughput, latencies, failures with their reasons, and warnings about the measurement."""
    users = f"{settings.users} user{'' if settings.users == 1 else 's'}"
    title = Text(f"{settings.body['model']} · {users} · {summary.window_s:.1f} s", style="bold")
    warnings = [Text(line, style="yellow") for line in _warnings(summary, result)]
    if not summary.requests:
        return Group(title, _totals(summary), *warnings)
    return Group(title, _totals(summary), _latencies(summary), *warnings)


def write_json(path: Path, summary: Summary, settings: LoadSettings, result: LoadResult) -> None:
    """Write the summary, the settings, the environment and every raw sample."""
    document = {
        "summary": asdict(summary),
        "settings": {
            "url": settings.url,
            "model": settings.body["model"],
            "users": settings.users,
            "spawn_rate": settings.spawn_rate,
            "duration_s": settings.duration_s,
            "request": settings.body,
        },
        "environment": environment.describe(),
        "interrupted": result.interrupted,
        "generator_busy": result.generator_busy,
        "samples": [asdict(sample) for sample in result.samples],
    }
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _totals(summary: Summary) -> Table:
    totals = Table(box=box.SIMPLE, show_header=False)
    totals.add_column(style="bold")
    totals.add_column(justify="right")
    totals.add_row("requests", str(summary.requests))
    failed = str(sum(summary.failures.values()))
    totals.add_row("failures", Text(failed, style="red" if summary.failures else ""))
    totals.add_row("output tokens/s", f"{summary.output_tokens_per_s:.1f}")
    totals.add_row("requests/s", f"{summary.requests_per_s:.2f}")
    totals.add_row("prompt tokens, mean", f"{summary.prompt_tokens_mean:.1f}")
    totals.add_row("output tokens, mean", f"{summary.output_tokens_mean:.1f}")
    return totals


def _latencies(summary: Summary) -> Table:
    latencies = Table(box=box.SIMPLE)
    latencies.add_column("milliseconds", style="bold")
    for name in ("mean", "p50", "p90", "p99"):
        latencies.add_column(name, justify="right")
    for name, distribution in (
        ("TTFT", summary.ttft_s),
        ("TTFO", summary.ttfo_s),
        ("TPOT", summary.tpot_s),
        ("E2E", summary.e2e_s),
        ("chunk gap", summary.chunk_gap_s),
    ):
        latencies.add_row(name, *_milliseconds(distribution))
    return latencies


def _milliseconds(distribution: Distribution | None) -> list[str]:
    if distribution is None:
        return ["-"] * 4
    values = (distribution.mean, distribution.p50, distribution.p90, distribution.p99)
    return [f"{1000 * value:.1f}" for value in values]


def _warnings(summary: Summary, result: LoadResult) -> list[str]:
    warnings = [f"{count} failed: {reason}" for reason, count in summary.failures.items()]
    if summary.only_thoughts:
        warnings.append(
            f"{summary.only_thoughts} of {summary.requests} answers hold nothing but thoughts, and have no "
            "TTFO: raise --max-tokens to measure it."
        )
    if result.interrupted:
        warnings.append(terminal.INTERRUPTED)
    if result.generator_busy:
        warnings.append(
            "bench itself used more than 90 % of a core: the figures may be limited by bench, not by the "
            "server."
        )
    return warnings
