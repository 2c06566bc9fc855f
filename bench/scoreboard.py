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
from bench.contestant import Entry
from bench.reading import Reading


def table(contest: Contest, threads: int, left_out: dict[str, str]) -> RenderableType:
    """Quality and tokens/s of everyone, our ratios to the best peer, and who is missing and why."""
    first = contest.points[0]
    rounds = len({sample.round for sample in contest.samples})
    title = f"tokens/s, median of {rounds} (lowest-highest) · {threads} threads · "
    title += f"{first.prompt_tokens} tokens in, {first.max_tokens} out"
    if contest.checkpoint_perplexity is not None:
        title += f" · perplexity: times the checkpoint's {contest.checkpoint_perplexity:.2f}"
    board = Table(box=box.SIMPLE)
    board.add_column("requests at once", style="bold", overflow="fold")
    if contest.checkpoint_perplexity is not None:
        board.add_column("perplexity", justify="right")
    for point in contest.points:
        board.add_column(_heading(point), justify="right")
    for entry in contest.entries:
        cells = [_cell(contest.throughput(entry.name, point), "{:.0f}") for point in contest.points]
        row = [entry.name, *_quality(contest, entry), *cells]
        board.add_row(*row, style=None if contest.counts(entry) else "dim")
    for entry in contest.entries:
        ratios = [contest.ratio(entry, point) for point in contest.points]
        if entry.ours and any(ratios):
            blank = [""] * len(_quality(contest, entry))
            name = f"{entry.name} : {entry.behind or 'best peer'}"
            board.add_row(name, *blank, *(_cell(ratio, "{:.2f}") for ratio in ratios))
    remarks = [
        Text(
            f"{entry.name} loses more than {entry.may_lose:.0%}: its speed does not count.",
            style="red",
        )
        for entry in contest.entries
        if not contest.counts(entry)
    ]
    remarks += [Text(f"{name} is out: {reason}", style="red") for name, reason in contest.failures.items()]
    remarks += [Text(f"{name} is left out: {how}.", style="yellow") for name, how in left_out.items()]
    if contest.interrupted:
        remarks.append(Text("Interrupted: these are the figures up to then.", style="yellow"))
    return Group(Text(title, style="bold"), board, *remarks)


def write_json(
    path: Path, contest: Contest, threads: int, left_out: dict[str, str], reading: Reading | None
) -> None:
    """Write the figures, who took part, the environment and every sample."""
    figures = [
        {
            "name": entry.name,
            "ours": entry.ours,
            "version": contest.versions.get(entry.name),
            "perplexity": contest.perplexities.get(entry.name),
            "loss": contest.loss(entry.name),
            "may_lose": entry.may_lose,
            "counts": contest.counts(entry),
            "ratio_to": entry.behind or "best peer",
            "points": [
                {
                    **asdict(point),
                    "tokens_per_s": _plain(contest.throughput(entry.name, point)),
                    "best_peer": contest.best_peer(point),
                    "ratio": _plain(contest.ratio(entry, point)),
                }
                for point in contest.points
            ],
        }
        for entry in contest.entries
    ]
    document = {
        "figures": figures,
        "checkpoint_perplexity": contest.checkpoint_perplexity,
        "text_tokens": reading.tokens if reading else 0,
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


def _quality(contest: Contest, entry: Entry) -> list[str]:
    """The cell of its perplexity over the checkpoint's, if there is one; ✗ when its speed does not count."""
    if contest.checkpoint_perplexity is None:
        return []
    loss = contest.loss(entry.name)
    return ["-" if loss is None else f"{1 + loss:.4f}{'' if contest.counts(entry) else ' ✗'}"]


def _cell(figure: Figure | None, form: str) -> str:
    if figure is None:
        return "-"
    low, high = form.format(figure.low), form.format(figure.high)
    return f"{form.format(figure.median)}\n{low}-{high}"


def _plain(figure: Figure | None) -> dict[str, float] | None:
    return asdict(figure) if figure else None
