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

from bench import lineup, prompts, reading, scoreboard
from bench.contest import Contest, Point, hold
from bench.contestant import Entry
from bench.json_file import JsonFile
from bench.progress import shown
from bench.reading import Reading

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
            exists=True,
            file_okay=False,
            help="The model for transformers, and what quality is held against; the sample's if not given.",
        ),
    ] = None,
    gguf: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The model for OpenVINO GenAI and llama.cpp, which take part once for each; the sample's "
            "Q4_1 and Q8_0 if not given.",
        ),
    ] = None,
    llama_server: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A build of llama.cpp's llama-server; the one in .cache/peers if not given.",
        ),
    ] = None,
    over_http: Annotated[
        bool,
        typer.Option(
            "--over-http", help="Run our engines also behind the gateway, and behind the gateway and Triton."
        ),
    ] = False,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality/--no-quality", help="With --peers: read a text first, and let no speed count without."
        ),
    ] = True,
    text: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Which UTF-8 text; the first 4,096 tokens of docs/, its ASCII characters, if not given.",
        ),
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
    512 tokens, and our ratio to the best peer. With --peers everyone first foretells the same text: its
    perplexity over that of the checkpoint in fp32 stands beside its speed, and a speed counts only for who
    loses at most 1 % (int8, and engines that are not quantized) or 6 % (int4, and peers on other files than
    our engines). Ctrl-C prints what was measured so far.

    - `python -m bench runtime engines/smollm2-135m-int4 --peers --without transformers`
    - `python -m bench runtime --over-http --concurrency 16` says what the servers cost
    - `... --rounds 1 --no-quality` for a quick look at speed
    - `... --gguf model-Q4_0.gguf --gguf model-Q4_1.gguf --text book.txt`
    """
    folders = tuple(engines or [Path("engines/smollm2-135m-int4")])
    tokenizer = tokenizer_of(folders[0])
    if not peers and (without or checkpoint or gguf or llama_server or text or not quality):
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
        tuple(gguf or lineup.sample_ggufs(folders)),
        llama_server or lineup.installed_llama_server(),
        slots=max(point.requests for point in points),
        length=max(reading.WINDOW, *(point.prompt_tokens + point.max_tokens for point in points)),
        threads=threads or _physical_cores(),
    )
    entries, left_out, read = lineup.ours(materials), {}, None
    if over_http:
        entries += lineup.over_http(materials)
    if peers:
        rivals, left_out = lineup.peers(materials, frozenset(without or []))
        entries += rivals
        if not quality:
            left_out["quality"] = "you said so (--no-quality)"
        elif against := lineup.checkpoint(materials):
            read = Reading(_windows(text, tokenizer), against)
        else:
            left_out["quality"] = (
                "name the checkpoint the engine was built from with --checkpoint; `make setup` installs "
                "transformers, which reads it"
            )
    contest = hold_with_progress(entries, points, rounds, prompt_maker(tokenizer, seed), read)
    Console().print(scoreboard.table(contest, materials.threads, left_out))
    if json_file:
        scoreboard.write_json(json_file, contest, materials.threads, left_out, read)
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


def _windows(text: Path | None, tokenizer: Path) -> list[list[int]]:
    try:
        return reading.windows_of(text, tokenizer)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--text") from None


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
    read: Reading | None = None,
) -> Contest:
    """Hold the contest with a bar in the terminal; Ctrl-C ends it with what was measured."""
    steps = len(entries) * (1 + rounds * len(points))
    if read:
        steps += 1 + (len(entries) + 1) * len(read.windows)
    with shown(steps) as report:
        return hold(entries, points, rounds, make, report, read)


def _physical_cores() -> int:
    physical = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):
        return min(physical, len(os.sched_getaffinity(0)))
    return physical
