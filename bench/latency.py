"""The command `python -m bench latency`: what a known prefix saves, and what long prompts do to streams.

Definitions:

TTFT: seconds from a prompt (as token ids) to its first token; nobody else is served. Cold: of a prompt whose
    prefix no one has sent before. Seen: of the same prefix with another end, the median of several.
Gap: seconds between two tokens of one running stream. Undisturbed: of streams that all have their first
    token, before any other prompt arrives. Beside prompts: from the first arrival to the first token of the
    last one, or to the end of a stream, whichever comes first; long prompts arrive one after another, without
    a pause.
Every figure is made for each round, and the median of the rounds, with the lowest and the highest, is shown.
Speculation is off: its tokens come in bursts.
"""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from bench import environment
from bench.contest import WARM_UP_TOKENS, Figure
from bench.contestant import Answers, Contestant, ContestantFailed, Entry
from bench.json_file import JsonFile
from bench.progress import shown
from bench.side_by_side import prompt_maker, tokenizer_of

STREAM_PROMPT_TOKENS = 128
UNDISTURBED_TOKENS = 64
ENDS = 3
# More than can be read before the streams end.
MOST_ARRIVALS = 16


@dataclass(frozen=True, slots=True)
class Prefix:
    """One round: seconds to the first token, cold and for each other end of the same prefix."""

    cold_s: float
    seen_s: list[float]


@dataclass(frozen=True, slots=True)
class Gaps:
    """One round of so many streams: seconds between tokens, and the prompts that were read meanwhile.

    ttft_s: of each prompt that arrived.
    """

    streams: int
    undisturbed_s: list[float]
    beside_prompts_s: list[float]
    ttft_s: list[float]

    @classmethod
    def of(cls, answers: Answers) -> "Gaps":
        """The gaps of a batch with arrivals, see the definitions above.

        Raises ContestantFailed when a stream ended before any prompt was read.
        """
        all_begun, one_ended = (
            max(times[0] for times in answers.times),
            min(times[-1] for times in answers.times),
        )
        (first, first_read), (_, last_read) = answers.arrived[0], answers.arrived[-1]
        if first_read > one_ended:
            raise ContestantFailed(
                f"{len(answers.times)} streams ended before one of the prompts was read; give them more "
                "--stream-tokens, or fewer --streams than the engine has slots"
            )
        last = min(last_read, one_ended)
        gaps = [pair for times in answers.times for pair in pairwise(times)]
        return cls(
            len(answers.times),
            [after - before for before, after in gaps if all_begun <= before and after <= first],
            [after - before for before, after in gaps if first < after <= last],
            [came - submitted for submitted, came in answers.arrived],
        )


def latency(
    engine: Annotated[Path, typer.Argument(help="A built engine.")] = Path("engines/smollm2-135m-int4"),
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is run.")] = 5,
    prefix_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the prefix, no two alike.")] = 1000,
    end_tokens: Annotated[int, typer.Option(min=2, help="Tokens that follow the prefix.")] = 16,
    streams: Annotated[
        list[int] | None, typer.Option(min=1, help="Running streams, once for each; 1 and 8.")
    ] = None,
    stream_tokens: Annotated[
        int, typer.Option(min=2 * UNDISTURBED_TOKENS, help="Tokens of each stream.")
    ] = 400,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the prompts that arrive.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the made prompts.")] = 0,
    json_file: JsonFile = None,
) -> None:
    """Measure what a known prefix saves (TTFT), and the gaps of running streams while long prompts arrive.

    In process. Prints TTFT of a prompt whose prefix is new and of one whose prefix was read before, and the
    gaps between the tokens of running streams, undisturbed and while one long prompt after another is read.
    Ctrl-C prints the rounds that were measured.
    """
    make = prompt_maker(tokenizer_of(engine), seed)
    sizes = streams or [1, 8]
    prefixes: list[Prefix] = []
    gaps: list[Gaps] = []
    console, errors = Console(), Console(stderr=True, soft_wrap=True)
    failed = False
    with shown(1 + rounds * (1 + len(sizes))) as report:
        try:
            report("loading")
            command = (sys.executable, "-m", "slipway", "measure", str(engine.resolve()))
            entry = Entry(engine.name, (*command, "--no-speculation", "--prefix-cache"), ours=True)
            with closing(Contestant(entry)) as ours:
                ours.run(make(max(sizes), STREAM_PROMPT_TOKENS), WARM_UP_TOKENS)
                for number in range(1, rounds + 1):
                    report(f"round {number}: a prefix")
                    prefixes.append(_prefix(ours, make, prefix_tokens, end_tokens))
                    for size in sizes:
                        report(f"round {number}: {size} streams")
                        gaps.append(_gaps(ours, make, size, stream_tokens, prompt_tokens))
        except ContestantFailed as error:
            errors.print(f"It failed: {error}", style="red", markup=False)
            failed = True
        except KeyboardInterrupt:
            errors.print("Interrupted: these are the rounds up to then.", style="yellow")
    figures = _figures(prefixes, gaps)
    console.print(_table(figures, len(prefixes)))
    if json_file:
        document = {
            "figures": {name: asdict(figure) for name, figure in figures.items()},
            "environment": environment.describe(),
            "prefixes": [asdict(each) for each in prefixes],
            "gaps": [asdict(each) for each in gaps],
        }
        json_file.write_text(json.dumps(document) + "\n", encoding="utf-8")
    if failed or not figures:
        raise typer.Exit(1)


def _prefix(ours: Contestant, make: Callable[[int, int], list[list[int]]], tokens: int, end: int) -> Prefix:
    (prefix,), ends = make(1, tokens), make(1 + ENDS, end)
    cold, *seen = (ours.run([prefix + each], 1) for each in ends)
    return Prefix(cold, seen)


def _gaps(
    ours: Contestant,
    make: Callable[[int, int], list[list[int]]],
    streams: int,
    tokens: int,
    prompt_tokens: int,
) -> Gaps:
    batch = {
        "prompts": make(streams, STREAM_PROMPT_TOKENS),
        "max_tokens": tokens,
        "arrivals": make(MOST_ARRIVALS, prompt_tokens),
        "arrive_after": UNDISTURBED_TOKENS,
    }
    return Gaps.of(ours.ask(batch))


def _figures(prefixes: Sequence[Prefix], gaps: Sequence[Gaps]) -> dict[str, Figure]:
    """By name, in order; times are in milliseconds, all else is a ratio."""
    rounds: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        rounds.setdefault(name, []).append(value)

    for prefix in prefixes:
        seen = median(prefix.seen_s)
        note("TTFT cold, ms", 1000 * prefix.cold_s)
        note("TTFT prefix seen, ms", 1000 * seen)
        note("TTFT seen : cold", seen / prefix.cold_s)
    for each in gaps:
        who = f"{each.streams} stream{'s' if each.streams > 1 else ''}"
        undisturbed = median(each.undisturbed_s)
        p99 = float(np.percentile(each.beside_prompts_s, 99))
        note(f"{who}, median gap undisturbed, ms", 1000 * undisturbed)
        note(f"{who}, median gap beside prompts, ms", 1000 * median(each.beside_prompts_s))
        note(f"{who}, p99 gap beside prompts, ms", 1000 * p99)
        note(f"{who}, p99 : median undisturbed", p99 / undisturbed)
        every = [*each.undisturbed_s, *each.beside_prompts_s]
        note(f"{who}, p99 : median of all", float(np.percentile(every, 99)) / median(every))
        note(f"{who}, TTFT of the prompts, ms", 1000 * median(each.ttft_s))
    return {name: Figure.over(values) for name, values in rounds.items()}


def _table(figures: dict[str, Figure], rounds: int) -> Table:
    board = Table(box=box.SIMPLE, title=f"median of {rounds} (lowest-highest)", title_justify="left")
    board.add_column("")
    board.add_column("", justify="right")
    for name, figure in figures.items():
        board.add_row(name, format(figure, ".1f" if name.endswith("ms") else ".2f"))
    return board
