"""The command `python -m bench latency`: what a known prefix saves, and what long prompts do to streams.

Definitions:

TTFT: seconds from a prompt (as token ids) to its first token, with no other request in the engine. Cold: the
    prefix is new. Seen: the same prefix with another end; the median of several.
Gap: seconds between two tokens of one running stream. Undisturbed: after the first token of every stream,
    before another prompt arrives. Beside prompts: from the first arrival to the first token of the last
    arrival, or to the end of a stream, whichever is first. Long prompts arrive one after another.
Every figure is the median of the rounds, with the lowest and the highest.
Speculation is off: its tokens come in bursts.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import typer
from rich import box
from rich.table import Table

from bench import environment, terminal
from bench.comparison import WARM_UP_TOKENS, Figure, PromptMaker
from bench.measured_engine import EngineSpec, MeasuredEngine, MeasurementFailed, TokenTimes
from bench.options import JsonFile, Rounds, Seed, tokenizer_file
from bench.prompts import token_prompts

STREAM_PROMPT_TOKENS = 128
UNDISTURBED_TOKENS = 64
ENDS = 3
# More than an engine can read before the streams end.
MAX_ARRIVALS = 16


@dataclass(frozen=True, slots=True)
class PrefixRound:
    """Seconds to the first token: cold, and for each other end of the same prefix."""

    cold_s: float
    seen_s: list[float]


@dataclass(frozen=True, slots=True)
class GapRound:
    """Seconds between tokens of `streams` streams, and the TTFT of each prompt that arrived."""

    streams: int
    undisturbed_s: list[float]
    beside_prompts_s: list[float]
    ttft_s: list[float]

    @classmethod
    def of(cls, times: TokenTimes) -> "GapRound":
        """The gaps of a batch with arrivals.

        Raises MeasurementFailed when a stream ended before a prompt was read.
        """
        all_started = max(stream[0] for stream in times.answers)
        one_ended = min(stream[-1] for stream in times.answers)
        (first, first_read), (_, last_read) = times.arrivals[0], times.arrivals[-1]
        if first_read > one_ended:
            raise MeasurementFailed(
                f"one of {len(times.answers)} streams ended before the first prompt was read; give more "
                "--stream-tokens, or fewer --streams than the engine has slots"
            )
        last = min(last_read, one_ended)
        gaps = [gap for stream in times.answers for gap in pairwise(stream)]
        return cls(
            len(times.answers),
            [after - before for before, after in gaps if all_started <= before and after <= first],
            [after - before for before, after in gaps if first < after <= last],
            [answered - submitted for submitted, answered in times.arrivals],
        )


@dataclass(frozen=True, slots=True)
class LatencySettings:
    """What every round measures. streams: numbers of running streams, once for each."""

    streams: list[int]
    prefix_tokens: int
    end_tokens: int
    stream_tokens: int
    prompt_tokens: int


@dataclass(slots=True)
class LatencyResult:
    """The samples of all rounds."""

    prefixes: list[PrefixRound] = field(default_factory=list)
    gaps: list[GapRound] = field(default_factory=list)


def latency(
    engine: Annotated[Path, typer.Argument(help="A built engine.")] = Path("engines/smollm2-135m-int4"),
    rounds: Rounds = 5,
    prefix_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the prefix, no two alike.")] = 1000,
    end_tokens: Annotated[int, typer.Option(min=2, help="Tokens after the prefix.")] = 16,
    streams: Annotated[
        list[int] | None, typer.Option(min=1, help="Running streams; 1 and 8 if not given.")
    ] = None,
    stream_tokens: Annotated[
        int, typer.Option(min=2 * UNDISTURBED_TOKENS, help="Tokens of each stream.")
    ] = 400,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the prompts that arrive.")] = 2000,
    seed: Seed = 0,
    json_file: JsonFile = None,
) -> None:
    """Measure what a known prefix saves, and the gaps of running streams while long prompts arrive.

    In process, without a server. The table shows the TTFT of a prompt with a new prefix and with a known one.
    It also shows the gaps between the tokens of running streams: undisturbed, and while the engine reads one
    long prompt after another. Ctrl-C prints the rounds that were measured.
    """
    make = token_prompts(tokenizer_file(engine), seed)
    settings = LatencySettings(streams or [1, 8], prefix_tokens, end_tokens, stream_tokens, prompt_tokens)
    result = LatencyResult()
    failed = False
    with terminal.step_progress(1 + rounds * (1 + len(settings.streams))) as report:
        try:
            _measure(engine, settings, rounds, make, report, result)
        except MeasurementFailed as error:
            terminal.print_error(f"The measurement failed: {error}.")
            failed = True
        except KeyboardInterrupt:
            terminal.print_warning(terminal.INTERRUPTED)
    figures = dict(_figures(result))
    terminal.print_report(_table(figures, len(result.prefixes)))
    if json_file:
        document = {
            "figures": {name: asdict(figure) for name, figure in figures.items()},
            "environment": environment.describe(),
            **asdict(result),
        }
        json_file.write_text(json.dumps(document) + "\n", encoding="utf-8")
    if failed or not figures:
        raise typer.Exit(1)


def _measure(
    engine: Path,
    settings: LatencySettings,
    rounds: int,
    make: PromptMaker,
    report: Callable[[str], None],
    result: LatencyResult,
) -> None:
    """Run all rounds and append their samples to `result`."""
    report("loading")
    command = (sys.executable, "-m", "slipway", "measure", str(engine.resolve()))
    spec = EngineSpec(engine.name, (*command, "--no-speculation", "--prefix-cache"), ours=True)
    with closing(MeasuredEngine(spec)) as ours:
        ours.run(make(max(settings.streams), STREAM_PROMPT_TOKENS), WARM_UP_TOKENS)
        for number in range(1, rounds + 1):
            report(f"round {number}: a prefix")
            (prefix,), ends = make(1, settings.prefix_tokens), make(1 + ENDS, settings.end_tokens)
            cold_s, *seen_s = (ours.run([prefix + end], 1) for end in ends)
            result.prefixes.append(PrefixRound(cold_s, seen_s))
            for streams in settings.streams:
                report(f"round {number}: {streams} streams")
                batch = {
                    "prompts": make(streams, STREAM_PROMPT_TOKENS),
                    "max_tokens": settings.stream_tokens,
                    "arrivals": make(MAX_ARRIVALS, settings.prompt_tokens),
                    "arrive_after": UNDISTURBED_TOKENS,
                }
                result.gaps.append(GapRound.of(ours.time_tokens(batch)))


def _figures(result: LatencyResult) -> Iterator[tuple[str, Figure]]:
    """Name and figure, in the order of the table; times are in milliseconds, the others are ratios."""
    if result.prefixes:
        cold = [each.cold_s for each in result.prefixes]
        seen = [median(each.seen_s) for each in result.prefixes]
        yield "TTFT cold, ms", _milliseconds(cold)
        yield "TTFT prefix seen, ms", _milliseconds(seen)
        yield "TTFT seen : cold", Figure.of([a / b for a, b in zip(seen, cold, strict=True)])
    for streams in dict.fromkeys(each.streams for each in result.gaps):
        rounds = [each for each in result.gaps if each.streams == streams]
        name = f"{streams} stream{'s' if streams > 1 else ''}"
        undisturbed = [median(each.undisturbed_s) for each in rounds]
        p99 = [float(np.percentile(each.beside_prompts_s, 99)) for each in rounds]
        yield f"{name}, median gap undisturbed, ms", _milliseconds(undisturbed)
        beside = [median(each.beside_prompts_s) for each in rounds]
        yield f"{name}, median gap beside prompts, ms", _milliseconds(beside)
        yield f"{name}, p99 gap beside prompts, ms", _milliseconds(p99)
        ratios = [a / b for a, b in zip(p99, undisturbed, strict=True)]
        yield f"{name}, p99 : median undisturbed", Figure.of(ratios)
        every = [[*each.undisturbed_s, *each.beside_prompts_s] for each in rounds]
        ratios = [float(np.percentile(gaps, 99)) / median(gaps) for gaps in every]
        yield f"{name}, p99 : median of all", Figure.of(ratios)
        yield f"{name}, TTFT of the prompts, ms", _milliseconds([median(each.ttft_s) for each in rounds])


def _milliseconds(seconds: Sequence[float]) -> Figure:
    return Figure.of([1000 * value for value in seconds])


def _table(figures: dict[str, Figure], rounds: int) -> Table:
    table = Table(box=box.SIMPLE, title=f"median of {rounds} (lowest-highest)", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    for name, figure in figures.items():
        table.add_row(name, format(figure, ".1f" if name.endswith("ms") else ".2f"))
    return table
