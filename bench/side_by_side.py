"""The command `python -m bench runtime`: our engine and its peers side by side on this machine."""

import os
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from tokenizers import Tokenizer

from bench import lineup, prompts, scoreboard
from bench.contest import Contest, Point, hold
from bench.contestant import Entry
from bench.json_file import JsonFile
from bench.progress import shown

PREFILL_TOKENS = 512


def runtime(
    engines: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[ENGINE]...", help="Built engines of one model; engines/smollm2-135m-int4 if not given."
        ),
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Run every peer that is there on the same batches.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help=f"Leave out a peer: {', '.join(lineup.PEERS)}. transformers is the slow one."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="The model for transformers; the sample's if not given."
        ),
    ] = None,
    gguf: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The model for OpenVINO GenAI and llama.cpp; the sample's Q4_1 if not given.",
        ),
    ] = None,
    llama_server: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A build of llama.cpp's llama-server.")
    ] = None,
    concurrency: Annotated[
        list[int] | None, typer.Option(min=1, help="Requests at once, once for each; 1, 4, 8 and 16.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is run.")] = 5,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens per prompt, no two alike.")] = 128,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens per answer, exactly.")] = 128,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each contestant; the physical cores if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the made prompts.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Run engines side by side on this machine: same prompts, lengths and threads, interleaved.

    Prints tokens/s (prefill included) for each number of requests at once, prefill tokens/s of a prompt of
    512 tokens, and our ratio to the best peer. It says nothing about quality. Ctrl-C prints what was
    measured so far.
    """
    folders = tuple(engines or [Path("engines/smollm2-135m-int4")])
    tokenizer = tokenizer_of(folders[0])
    if not peers and (without or checkpoint or gguf or llama_server):
        raise typer.BadParameter("what is said about peers counts only with it.", param_hint="--peers")
    if unknown := sorted(set(without or []) - set(lineup.PEERS)):
        raise typer.BadParameter(
            f"{unknown[0]} is none of {', '.join(lineup.PEERS)}.", param_hint="--without"
        )
    points = [Point(requests, prompt_tokens, max_tokens) for requests in concurrency or (1, 4, 8, 16)]
    points.append(Point(1, PREFILL_TOKENS, 1))
    materials = lineup.Materials(
        folders,
        checkpoint or lineup.sample_checkpoint(folders),
        gguf or lineup.sample_gguf(folders),
        llama_server,
        slots=max(point.requests for point in points),
        length=max(point.prompt_tokens + point.max_tokens for point in points),
        threads=threads or _physical_cores(),
    )
    entries, left_out = lineup.ours(materials), {}
    if peers:
        rivals, left_out = lineup.peers(materials, frozenset(without or []))
        entries += rivals
    contest = hold_with_progress(entries, points, rounds, prompt_maker(tokenizer, seed))
    Console().print(scoreboard.table(contest, materials.threads, left_out))
    if json_file:
        scoreboard.write_json(json_file, contest, materials.threads, left_out)
    if not contest.samples:
        Console(stderr=True).print("Nothing was measured.", style="red")
        raise typer.Exit(1)
    if any(entry.name in contest.failures for entry in entries if entry.ours):
        raise typer.Exit(1)


def tokenizer_of(engine: Path) -> Path:
    """The tokenizer file of an engine, refused as an argument of the command when it is missing."""
    tokenizer = engine / "tokenizer.json"
    if not tokenizer.is_file():
        raise typer.BadParameter(f"{tokenizer} is missing: build the engine with `make engine`.")
    return tokenizer


def prompt_maker(tokenizer_file: Path, seed: int) -> Callable[[int, int], list[list[int]]]:
    """Makes n prompts of m ids, none of them twice; a word is one token or more, so m words are enough."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    seeds = count(seed)

    def make(number: int, length: int) -> list[list[int]]:
        texts = islice(prompts.made(length, next(seeds)), number)
        return [tokenizer.encode(text, add_special_tokens=False).ids[:length] for text in texts]

    return make


def hold_with_progress(
    entries: list[Entry],
    points: list[Point],
    rounds: int,
    make: Callable[[int, int], list[list[int]]],
) -> Contest:
    """Hold the contest with a bar in the terminal; Ctrl-C ends it with what was measured."""
    with shown(len(entries) * (1 + rounds * len(points))) as report:
        return hold(entries, points, rounds, make, report)


def _physical_cores() -> int:
    physical = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):
        return min(physical, len(os.sched_getaffinity(0)))
    return physical
