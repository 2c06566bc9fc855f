"""The report of a comparison: a table for people, JSON for programs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench import environment, terminal
from bench.comparison import Comparison, Figure, Workload
from bench.measured_engine import EngineSpec
from bench.quality import QualityText


def table(comparison: Comparison, threads: int, left_out: Mapping[str, str]) -> RenderableType:
    """Quality and tokens/s of every engine, our ratios, and what is left out with the reason."""
    first = comparison.workloads[0]
    rounds = len({sample.round for sample in comparison.samples})
    title = f"tokens/s, median of {rounds} (lowest-highest) · {threads} threads · "
    title += f"{first.prompt_tokens} tokens in, {first.max_tokens} out"
    if comparison.checkpoint_perplexity is not None:
        title += f" · perplexity: times the checkpoint's {comparison.checkpoint_perplexity:.2f}"
    notes = [Text(line, style=style) for style, line in _notes(comparison, left_out)]
    return Group(Text(title, style="bold"), _figures(comparison), *notes)


def write_json(
    path: Path, comparison: Comparison, threads: int, left_out: Mapping[str, str], text: QualityText | None
) -> None:
    """Write the figures, the engines, the environment and every sample."""
    document = {
        "figures": [_engine_document(comparison, spec) for spec in comparison.specs],
        "checkpoint_perplexity": comparison.checkpoint_perplexity,
        "text_tokens": text.tokens if text else 0,
        "threads": threads,
        "failures": comparison.failures,
        "left_out": dict(left_out),
        "environment": environment.describe(),
        "interrupted": comparison.interrupted,
        "samples": [asdict(sample) for sample in comparison.samples],
    }
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _engine_document(comparison: Comparison, spec: EngineSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "ours": spec.ours,
        "version": comparison.versions.get(spec.name),
        "perplexity": comparison.perplexities.get(spec.name),
        "loss": comparison.loss(spec.name),
        "max_loss": spec.max_loss,
        "counts": comparison.counts(spec),
        "ratio_to": spec.baseline or "best peer",
        "workloads": [
            {
                **asdict(workload),
                "tokens_per_s": _document(comparison.throughput(spec.name, workload)),
                "best_peer": comparison.best_peer(workload),
                "ratio": _document(comparison.ratio(spec, workload)),
            }
            for workload in comparison.workloads
        ],
    }


def _figures(comparison: Comparison) -> Table:
    figures = Table(box=box.SIMPLE)
    figures.add_column("requests at once", style="bold", overflow="fold")
    if comparison.checkpoint_perplexity is not None:
        figures.add_column("perplexity", justify="right")
    for workload in comparison.workloads:
        figures.add_column(_heading(workload), justify="right")
    for spec in comparison.specs:
        speeds = [_cell(comparison.throughput(spec.name, each), ".0f") for each in comparison.workloads]
        style = None if comparison.counts(spec) else "dim"
        figures.add_row(spec.name, *_quality(comparison, spec), *speeds, style=style)
    for spec in comparison.specs:
        ratios = [comparison.ratio(spec, workload) for workload in comparison.workloads]
        if spec.ours and any(ratios):
            blank = [""] * len(_quality(comparison, spec))
            name = f"{spec.name} : {spec.baseline or 'best peer'}"
            figures.add_row(name, *blank, *(_cell(ratio, ".2f") for ratio in ratios))
    return figures


def _notes(comparison: Comparison, left_out: Mapping[str, str]) -> list[tuple[str, str]]:
    """Style and text of the lines under the table."""
    too_lossy = [spec for spec in comparison.specs if not comparison.counts(spec)]
    notes = [
        ("red", f"{spec.name} loses more than {spec.max_loss:.0%}: its speed does not count.")
        for spec in too_lossy
    ]
    notes += [("red", f"{name} failed: {reason}") for name, reason in comparison.failures.items()]
    notes += [("yellow", f"{name} is left out: {reason}.") for name, reason in left_out.items()]
    if comparison.interrupted:
        notes.append(("yellow", terminal.INTERRUPTED))
    return notes


def _heading(workload: Workload) -> str:
    return f"prefill {workload.prompt_tokens}" if workload.is_prefill else str(workload.requests)


def _quality(comparison: Comparison, spec: EngineSpec) -> list[str]:
    """The perplexity over the checkpoint's, with ✗ when the speed does not count; no cell without a text."""
    if comparison.checkpoint_perplexity is None:
        return []
    loss = comparison.loss(spec.name)
    return ["-" if loss is None else f"{1 + loss:.4f}{'' if comparison.counts(spec) else ' ✗'}"]


def _cell(figure: Figure | None, form: str) -> str:
    if figure is None:
        return "-"
    return f"{figure.median:{form}}\n{figure.low:{form}}-{figure.high:{form}}"


def _document(figure: Figure | None) -> dict[str, float] | None:
    return asdict(figure) if figure else None
