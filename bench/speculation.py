"""The command `python -m bench speculation`: what drafting gains on answers that repeat themselves.

Definitions:

Round: every text is continued with speculation and without, one request at a time; who is first alternates.
Tokens/s: output tokens / seconds from the prompt (as token ids) to the last token, prefill included; of a
    kind of texts, all their tokens / all their seconds.
Gain: tokens/s with speculation over tokens/s without, round by round.
Right: drafted tokens that the model then chose / drafted tokens.
Per pass: output tokens / forward passes that made them.
Speeds and gains are the median of the rounds, with the lowest and the highest.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer

from bench import environment
from bench.contest import WARM_UP_TOKENS, Figure, rotated
from bench.contestant import Contestant, ContestantFailed, Entry
from bench.json_file import JsonFile
from bench.progress import shown
from bench.side_by_side import tokenizer_of
from bench.texts import TEXTS

OFF, ON = WAYS = ("off", "on")


@dataclass(frozen=True, slots=True)
class Sample:
    """One text continued once. way: OFF or ON. round: counted from 0. drafted, accepted: tokens."""

    kind: str
    text: str
    round: int
    way: str
    seconds: float
    token_ids: list[int]
    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of some texts, see the definitions above. right: None where nothing was drafted."""

    tokens: int
    off: Figure
    on: Figure
    gain: Figure
    right: float | None
    per_pass: float

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Row":
        """The figures of whole rounds, one at least."""
        rounds = sorted({each.round for each in samples})
        off, on = (
            [
                _speed([each for each in samples if (each.way, each.round) == (way, number)])
                for number in rounds
            ]
            for way in WAYS
        )
        drafting = [each for each in samples if each.way == ON]
        tokens = sum(len(each.token_ids) for each in drafting)
        drafted, accepted = sum(each.drafted for each in drafting), sum(each.accepted for each in drafting)
        return cls(
            tokens // len(rounds),
            Figure.over(off),
            Figure.over(on),
            Figure.over([fast / slow for fast, slow in zip(on, off, strict=True)]),
            accepted / drafted if drafted else None,
            tokens / (tokens - accepted),
        )


def speculation(
    engine: Annotated[Path, typer.Argument(help="A built engine.")] = Path("engines/smollm2-135m-int4"),
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is run.")] = 5,
    max_tokens: Annotated[int, typer.Option(min=2, help="Most tokens of an answer.")] = 400,
    json_file: JsonFile = None,
) -> None:
    """Continue lists of shapes, JSON records and prose, with speculation and without, interleaved.

    One request at a time, greedy, in process. Prints tokens/s (prefill included), what speculation gains, how
    many drafted tokens were right, and tokens per forward pass. Fails if an answer is not the same both ways.
    Ctrl-C prints the rounds that were measured; `--json` writes the answers too.
    """
    tokenizer = Tokenizer.from_file(str(tokenizer_of(engine)))
    samples: list[Sample] = []
    console, errors = Console(), Console(stderr=True, soft_wrap=True)
    failed = False
    with shown(len(WAYS) * (1 + rounds * len(TEXTS))) as report:
        try:
            for done in _rounds(engine.resolve(), tokenizer, rounds, max_tokens, report):
                samples += done
        except ContestantFailed as error:
            errors.print(f"It failed: {error}", style="red", markup=False)
            failed = True
        except KeyboardInterrupt:
            errors.print("Interrupted: these are the rounds up to then.", style="yellow")
    rows = rows_of(samples)
    console.print(_table(rows, len({each.round for each in samples})))
    if changed := changed_answers(samples):
        errors.print(f"Not the same answer with speculation as without: {', '.join(changed)}.", style="red")
    if json_file:
        document = {
            "figures": {name: asdict(row) for name, row in rows.items()},
            "changed": changed,
            "answers": {_name(each): tokenizer.decode(each.token_ids) for each in samples if each.way == OFF},
            "environment": environment.describe(),
            "samples": [asdict(each) for each in samples],
        }
        json_file.write_text(json.dumps(document) + "\n", encoding="utf-8")
    if failed or changed or not samples:
        raise typer.Exit(1)


def _rounds(
    engine: Path, tokenizer: Tokenizer, rounds: int, max_tokens: int, report: Callable[[str], None]
) -> Iterator[list[Sample]]:
    """The samples of one round after another."""
    prompts = [tokenizer.encode(text.prompt, add_special_tokens=False).ids for text in TEXTS]
    with ExitStack() as stack:
        running: dict[str, Contestant] = {}
        for way, option in zip(WAYS, ("--no-speculation", "--speculation"), strict=True):
            report(f"loading with speculation {way}")
            command = (sys.executable, "-m", "slipway", "measure", str(engine), option)
            running[way] = stack.enter_context(closing(Contestant(Entry(way, command, ours=True))))
            running[way].run(prompts[:1], WARM_UP_TOKENS)
        for number in range(rounds):
            samples = []
            for index, text in enumerate(TEXTS):
                batch = {"prompts": [prompts[index]], "max_tokens": max_tokens, "ignore_eos": False}
                for way in rotated(list(WAYS), number + index):
                    report(f"round {number + 1}: {text.kind}, {text.name}, speculation {way}")
                    got = running[way].ask(batch)
                    samples.append(
                        Sample(
                            text.kind,
                            text.name,
                            number,
                            way,
                            got.seconds,
                            got.token_ids[0],
                            got.drafted,
                            got.accepted,
                        )
                    )
            yield samples


def _speed(samples: Sequence[Sample]) -> float:
    return sum(len(each.token_ids) for each in samples) / sum(each.seconds for each in samples)


def _name(sample: Sample) -> str:
    return f"{sample.kind}: {sample.text}"


def changed_answers(samples: Sequence[Sample]) -> list[str]:
    """The texts that did not always get the same answer."""
    answers: dict[str, set[tuple[int, ...]]] = {}
    for each in samples:
        answers.setdefault(_name(each), set()).add(tuple(each.token_ids))
    return [name for name, different in answers.items() if len(different) > 1]


def rows_of(samples: Sequence[Sample]) -> dict[str, Row]:
    """The figures of every kind and, after it, of its texts."""
    by_name: dict[str, list[Sample]] = {}
    for each in sorted(samples, key=lambda sample: [text.kind for text in TEXTS].index(sample.kind)):
        by_name.setdefault(each.kind, []).append(each)
        by_name.setdefault(_name(each), []).append(each)
    return {name: Row.of(own) for name, own in by_name.items()}


def _table(rows: dict[str, Row], rounds: int) -> Table:
    title = f"tokens/s of one request, speculation off and on, median of {rounds} (lowest-highest)"
    board = Table(box=box.SIMPLE, title=title, title_justify="left")
    board.add_column("", no_wrap=True)
    for heading in ("tokens", "off", "on", "on : off", "right", "per pass"):
        board.add_column(heading, justify="right")
    for name, row in rows.items():
        board.add_row(
            name,
            str(row.tokens),
            f"{row.off.median:.0f}",
            f"{row.on.median:.0f}",
            f"{row.gain:.2f}",
            "-" if row.right is None else f"{row.right:.0%}",
            f"{row.per_pass:.2f}",
            style="" if ":" in name else "bold",
        )
    return board
