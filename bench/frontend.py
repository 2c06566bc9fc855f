"""The command `python -m bench frontend`: what one gateway process costs, before an engine without cost."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench import environment
from bench.contest import Figure
from bench.contestant import ROOT
from bench.frontend_rounds import NO_GATEWAY, Load, Rounds, Sample, hold, ours, vllms
from bench.json_file import JsonFile
from bench.progress import shown
from bench.side_by_side import tokenizer_of
from bench.wide_engine import wide

THIS, OTHER, VLLM = "this", "other", "vLLM"
# As fast as stand-in and gateway can, by tokens to a message.
AT_ONCE = (1, 4, 16)
# What an engine that makes 20,480 tokens a second for 64 streams sends (`runtime/outbox.py`).
PACED = "20,480 tokens/s"
REQUESTS = "requests"
SPREAD, BURST = "TTFT, one after another", "TTFT, all at once"

Value = Callable[[Sample], float]


def frontend(
    engine: Annotated[
        Path, typer.Argument(help="A built engine; only its tokenizer and template are used.")
    ] = Path("engines/smollm2-135m-int4"),
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is run.")] = 5,
    messages: Annotated[int, typer.Option(min=1, help="Messages of an answer, after its first.")] = 256,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Another checkout; its gateway takes part, in turn with this."
        ),
    ] = None,
    vllm: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A Python that has vllm; its OpenAI server takes part too."
        ),
    ] = None,
    checkpoint: Annotated[
        Path, typer.Option(help="For vLLM's server, which reads configuration and tokenizer of it.")
    ] = Path("checkpoints/smollm2-135m-instruct"),
    json_file: JsonFile = None,
) -> None:
    """Stream from a stand-in for Triton that answers at once, through one gateway process, to 64 clients.

    Starts and ends everything itself, on free ports; the gateway has a core of its own. Prints tokens/s, CPU
    time per event and per request, and what the gateway adds to TTFT at 16 clients. `--against` takes another
    checkout along, to say what a change brings, `--vllm` vLLM's server with an engine without cost inside it.
    Ctrl-C prints what was measured so far.
    """
    tokenizer_of(engine)
    loads = loads_of(messages)
    with wide(engine, max(load.clients for load in loads)) as served:
        gateways = {THIS: ours(ROOT, served)}
        if against:
            gateways[OTHER] = ours(against.resolve(), served)
        if vllm:
            gateways[VLLM] = vllms(vllm.absolute(), checkpoint.resolve(), served)
        with shown(len(gateways) + rounds * len(loads) * (len(gateways) + 1)) as report:
            held = hold(served.name, gateways, loads, rounds, report)
    Console().print(_table(held, loads))
    if json_file:
        _write_json(json_file, held, loads)
    if not held.samples:
        raise typer.Exit(1)


def loads_of(messages: int) -> list[Load]:
    """What is measured. The sixteen that come one after another are spread over the length of an answer."""
    paced = min(messages, 10)
    return [
        *(Load(_at_once(many), 64, messages, many) for many in AT_ONCE),
        Load(PACED, 64, min(messages, 20), 32, 0.1),
        Load(REQUESTS, 16, 0, each=16),
        Load(SPREAD, 16, paced, 8, 0.1, each=2, apart_s=0.1 * paced / 16),
        Load(BURST, 16, min(messages, 4), 8, 0.1, each=2),
    ]


def _at_once(tokens: int) -> str:
    return f"{tokens} token{'s' if tokens > 1 else ''} a message"


def _rows(loads: list[Load]) -> list[tuple[str, str, Value, str]]:
    """Of each row: what it says, the load it is of, the figure, its form. CPU is of gateways alone."""
    rows: list[tuple[str, str, Value, str]] = []
    for many in AT_ONCE:
        name = _at_once(many)
        rows += [
            (f"tokens/s, {name}", name, lambda sample: sample.tokens_per_s, ",.0f"),
            ("  CPU µs per event", name, lambda sample: 1e6 * sample.cpu_s / sample.events, ".0f"),
            ("  CPU ms per 1,000 tokens", name, lambda sample: 1e6 * sample.cpu_s / sample.tokens, ".1f"),
        ]
    return [
        *rows,
        (f"tokens/s of {PACED}", PACED, lambda sample: sample.tokens_per_s, ",.0f"),
        ("  CPU, share of a core", PACED, lambda sample: sample.cpu_s / sample.seconds, ".1%"),
        ("  chunk gap ms, p99", PACED, lambda sample: 1000 * (sample.gap_p99_s or 0), ".0f"),
        ("answers/s of one token", REQUESTS, lambda sample: sample.answers / sample.seconds, ",.0f"),
        ("  CPU ms per answer", REQUESTS, lambda sample: 1000 * sample.cpu_s / sample.answers, ".2f"),
        ("TTFT ms, 16 one after another", SPREAD, lambda sample: 1000 * sample.ttft_s, ".2f"),
        ("TTFT ms, 16 at once", BURST, lambda sample: 1000 * sample.ttft_s, ".2f"),
    ]


def _table(held: Rounds, loads: list[Load]) -> RenderableType:
    rounds = len({sample.round for sample in held.samples})
    board = Table(box=box.SIMPLE)
    board.add_column("", no_wrap=True)
    rivals = [way for way in held.ways if way not in (THIS, NO_GATEWAY)]
    for name in [THIS, *(each for way in rivals for each in (way, f": {way}")), NO_GATEWAY]:
        board.add_column(name, justify="right", overflow="fold")
    for words, load, value, form in _rows(loads):
        by_way = {way: held.by_round(way, load, value) for way in held.ways}
        cells = [_cell(by_way[THIS], form)]
        for way in rivals:
            pairs = zip(by_way[THIS], by_way[way], strict=False)
            ratios = [one / other for one, other in pairs if other]
            cells += [_cell(by_way[way], form), _cell(ratios, ".2f")]
        board.add_row(words, *cells, "" if "CPU" in words else _cell(by_way[NO_GATEWAY], form))
        if words.startswith("TTFT"):
            added = [_cell(_added(held, way, load), ".2f") for way in (THIS, *rivals)]
            board.add_row("  added", added[0], *(cell for each in added[1:] for cell in (each, "")))
    remarks = []
    if not held.pinned:
        remarks.append("Nothing was pinned to a core here, so the gateway shared them all.")
    if held.interrupted:
        remarks.append("Interrupted: these are the figures up to then.")
    title = f"median of {rounds} (lowest-highest) · one gateway process, 64 clients"
    return Group(Text(title, style="bold"), board, *(Text(line, style="yellow") for line in remarks))


def _added(held: Rounds, way: str, load: str) -> list[float]:
    """Milliseconds that the gateway adds to the median TTFT, round by round."""
    with_it = held.by_round(way, load, lambda sample: sample.ttft_s)
    without = held.by_round(NO_GATEWAY, load, lambda sample: sample.ttft_s)
    return [1000 * (one - other) for one, other in zip(with_it, without, strict=False)]


def _cell(values: list[float], form: str) -> str:
    figure = Figure.of(values)
    return "-" if figure is None else format(figure, form)


def _write_json(path: Path, held: Rounds, loads: list[Load]) -> None:
    figures: dict[str, dict[str, object]] = {way: {} for way in held.ways}
    for words, load, value, _ in _rows(loads):
        for way in held.ways:
            figure = Figure.of(held.by_round(way, load, value))
            figures[way][f"{load}: {words.strip()}"] = asdict(figure) if figure else None
    document = {
        "figures": figures,
        "loads": [asdict(load) for load in loads],
        "pinned": held.pinned,
        "environment": environment.describe(),
        "interrupted": held.interrupted,
        "samples": [asdict(sample) for sample in held.samples],
    }
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
