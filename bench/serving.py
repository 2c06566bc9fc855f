"""The command `python -m bench http`: what the way over HTTP costs, against the engine alone in process."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench import environment
from bench.contest import Contest, Figure, Point
from bench.contestant import Entry
from bench.json_file import JsonFile
from bench.side_by_side import hold_with_progress, prompt_maker, tokenizer_of

IN_PROCESS = "in process"
WAYS = {"local backend": "local", "Triton": "triton"}


def http(
    engine: Annotated[Path, typer.Argument(help="A built engine.")] = Path("engines/smollm2-135m-int4"),
    clients: Annotated[int, typer.Option(min=1, help="Requests at the same time.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is run.")] = 5,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens per prompt, no two alike.")] = 128,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens per answer, exactly.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the made prompts.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Run one engine three ways, interleaved: in process, behind the gateway, behind gateway and Triton.

    Starts and ends the servers itself, on free ports. Prints tokens/s of so many clients at the same time,
    the ratios to the engine in process, where the CPU time went, and how much of its time the engine spends
    outside onnxruntime. Clients and servers share the machine. Ctrl-C prints what was measured so far.
    """
    make = prompt_maker(tokenizer_of(engine), seed)
    point = Point(clients, prompt_tokens, max_tokens)
    contest = hold_with_progress(_entries(engine.resolve()), [point], rounds, make)
    Console().print(_table(contest, point))
    if json_file:
        _write_json(json_file, contest, point)
    if contest.failures or not contest.samples:
        raise typer.Exit(1)


def _entries(engine: Path) -> list[Entry]:
    python = (sys.executable, "-m")
    over_http = [
        Entry(name, (*python, "bench.over_http", way, str(engine)), ours=True) for name, way in WAYS.items()
    ]
    return [Entry(IN_PROCESS, (*python, "runtime", "measure", str(engine)), ours=True), *over_http]


def _table(contest: Contest, point: Point) -> RenderableType:
    rounds = len({sample.round for sample in contest.samples})
    title = f"median of {rounds} (lowest-highest) · {point.requests} at the same time · "
    title += f"{point.prompt_tokens} tokens in, {point.max_tokens} out"
    board = Table(box=box.SIMPLE)
    board.add_column("", no_wrap=True)
    for name in (IN_PROCESS, *WAYS):
        board.add_column(name, justify="right")
    board.add_row(
        "tokens/s", *(_cell(contest.throughput(name, point), ".0f") for name in (IN_PROCESS, *WAYS))
    )
    board.add_row(
        ": in process", "", *(_cell(contest.ratio_to(IN_PROCESS, name, point), ".2f") for name in WAYS)
    )
    board.add_row("outside onnxruntime", _cell(_outside(contest), ".1%"))
    costs = {name: _cpu_ms_per_token(contest, name, point) for name in WAYS}
    board.add_row("CPU ms per token")
    for part in sorted({part for cost in costs.values() for part in cost}):
        row = [f"{cost[part]:.3f}" if part in cost else "" for cost in costs.values()]
        board.add_row(f"  {part}", "", *row)
    remarks = [Text(f"{name} is out: {reason}", style="red") for name, reason in contest.failures.items()]
    if contest.interrupted:
        remarks.append(Text("Interrupted: these are the figures up to then.", style="yellow"))
    return Group(Text(title, style="bold"), board, *remarks)


def _outside(contest: Contest) -> Figure | None:
    """The share of the seconds in process that the engine was not inside onnxruntime."""
    return Figure.of(
        [1 - sample.session_s / sample.seconds for sample in contest.samples if sample.session_s is not None]
    )


def _cpu_ms_per_token(contest: Contest, name: str, point: Point) -> dict[str, float]:
    """The median of the rounds, by part."""
    spent = [sample.cpu_s for sample in contest.samples if sample.name == name]
    tokens = point.requests * point.max_tokens
    return {part: 1000 * median(each[part] for each in spent) / tokens for part in spent[0]} if spent else {}


def _cell(figure: Figure | None, form: str) -> str:
    return "-" if figure is None else format(figure, form)


def _write_json(path: Path, contest: Contest, point: Point) -> None:
    ways = {}
    for name in (IN_PROCESS, *WAYS):
        speed, ratio = contest.throughput(name, point), contest.ratio_to(IN_PROCESS, name, point)
        ways[name] = {
            "tokens_per_s": asdict(speed) if speed else None,
            "ratio_to_in_process": asdict(ratio) if ratio else None,
            "cpu_ms_per_token": _cpu_ms_per_token(contest, name, point),
        }
    outside = _outside(contest)
    document = {
        "figures": ways,
        "outside_onnxruntime": asdict(outside) if outside else None,
        **asdict(point),
        "failures": contest.failures,
        "environment": environment.describe(),
        "interrupted": contest.interrupted,
        "samples": [asdict(sample) for sample in contest.samples],
    }
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
