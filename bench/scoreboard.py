"""A contest as a table for people and as JSON for programs; called by the command `runtime`."""

import json
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench import environment
from bench.contest import Contest, Figure, Point


def table(contest: Contest, threads: int, left_out: dict[str, str]) -> RenderableType:
    """Tokens/s of everyone at every point, our ratios to the best peer, and who is missing and why."""
    first = contest.points[0]
    rounds = len({sample.round for sample in contest.samples})
    title = f"tokens/s, median of {rounds} (lowest-highest) · {threads} threads · "
    title += f"{first.prompt_tokens} tokens in, {first.max_tokens} out"
    board = Table(box=box.SIMPLE)
    board.add_column("requests at once", style="bold", overflow="fold")
    for point in contest.points:
        board.add_column(_heading(point), justify="right")
    for entry in contest.entries:
        figures = [contest.throughput(entry.name, point) for point in contest.points]
        board.add_row(entry.name, *(_cell(figure, "{:.0f}") for figure in figures))
    for entry in contest.entries:
        ratios = [contest.ratio(entry.name, point) for point in contest.points]
        if entry.ours and any(ratios):
            board.add_row(f"{entry.name} : best peer", *(_cell(ratio, "{:.2f}") for ratio in ratios))
    remarks = [Text(f"{name} is out: {reason}", style="red") for name, reason in contest.failures.items()]
    remarks += [Text(f"{name} is left out: {how}.", style="yellow") for name, how in left_out.items()]
    if contest.interrupted:
        remarks.append(Text("Interrupted: these are the figures up to then.", style="yellow"))
    return Group(Text(title, style="bold"), board, *remarks)


def write_json(path: Path, contest: Contest, threads: int, left_out: dict[str, str]) -> None:
    """Write the figures, who took part, the environment and every sample."""
    figures = [
        {
            "name": entry.name,
            "ours": entry.ours,
            "version": contest.versions.get(entry.name),
            "points": [
                {
                    **asdict(point),
                    "tokens_per_s": _plain(contest.throughput(entry.name, point)),
                    "best_peer": contest.best_peer(point),
                    "ratio_to_best_peer": _plain(contest.ratio(entry.name, point)),
                }
                for point in contest.points
            ],
        }
        for entry in contest.entries
    ]
    document = {
        "figures": figures,
        "threads": threads,
        "failures": contest.failures,
        "left_out": left_out,
        "environment": environment.describe(),
        "interrupted": contest.interrupted,
        "samples": [asdict(sample) for sample in contest.samples],
    }
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _heading(point: Point) -> str:
    return f"prefill {point.prompt_tokens}" if point.is_prefill else str(point.requests)


def _cell(figure: Figure | None, form: str) -> str:
    if figure is None:
        return "-"
    low, high = form.format(figure.low), form.format(figure.high)
    return f"{form.format(figure.median)}\n{low}-{high}"


def _plain(figure: Figure | None) -> dict[str, float] | None:
    return asdict(figure) if figure else None
