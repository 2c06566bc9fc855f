"""The command `python -m bench convert`: how fast and in how much memory a checkpoint is converted.

Definitions:

Round: every contestant once, each from a checkpoint that is not in memory to files that are on the disk; who
    is first moves on by one each time.
Speed: bytes of the checkpoint's weights / seconds from the start of the process to the end of `sync`.
Speed : cp: of a contestant to `cp -r` of the same folder, round by round.
Peak memory: the most that the process had resident (ru_maxrss), its Python included.
Speeds are the median of the rounds, with the lowest and the highest; memory is the highest.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from bench import environment, random_checkpoint
from bench.contest import Figure, rotated
from bench.contestant import ROOT, ContestantFailed
from bench.json_file import JsonFile
from bench.progress import shown

CONFIG = ROOT / "tests" / "configs" / "llama-3-8b.json"
MODELOPT_PYTHON = ROOT / ".cache" / "modelopt" / "bin" / "python"
COPY, MODELOPT = "cp -r", "modelopt"


@dataclass(frozen=True, slots=True)
class Sample:
    """One conversion. name: of the contestant. round: counted from 0."""

    name: str
    round: int
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one contestant, see the definitions above; speed in bytes per second."""

    speed: Figure
    to_copy: Figure
    peak_bytes: int


def convert(
    config: Annotated[
        Path,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A Llama's config.json, for its shapes.",
            show_default="those of Llama 3 8B",
        ),
    ] = CONFIG,
    layers: Annotated[int | None, typer.Option(min=1, help="Another number of layers than in there.")] = None,
    tensor_parallel: Annotated[
        list[int] | None, typer.Option(min=1, help="GPUs to convert for, once for each; 1 and 2.")
    ] = None,
    modelopt: Annotated[
        bool,
        typer.Option(
            "--modelopt",
            help="Also NVIDIA's exporter, of `make setup-modelopt`. It holds the whole model in memory, "
            "several times: give --layers so that it fits.",
        ),
    ] = False,
    folder: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="On which disk; twice the model must fit.")
    ] = Path(),
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is run.")] = 3,
    json_file: JsonFile = None,
) -> None:
    """Convert a checkpoint of random weights for TensorRT-LLM, and copy it with `cp`, in turn.

    The shapes are those of Llama 3 8B if nothing else is said: 16 GB, made once and deleted at the end.
    Prints speeds, ratios to `cp`, and peak memory. Ctrl-C prints the rounds that were measured.

    - `python -m bench convert`
    - `python -m bench convert --layers 8 --modelopt`
    """
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        values["num_hidden_layers"] = layers or values["num_hidden_layers"]
        size = random_checkpoint.size(values)
    except (ValueError, LookupError, TypeError) as error:
        raise typer.BadParameter(
            f"{config} is no Llama's config.json ({error!r}).", param_hint="--config"
        ) from None
    if (free := shutil.disk_usage(folder).free) < 2.1 * size:
        raise typer.BadParameter(
            f"{2.1 * size / 1e9:.1f} GB are needed there and {free / 1e9:.1f} GB are free.",
            param_hint="--folder",
        )
    if modelopt and not MODELOPT_PYTHON.exists():
        raise typer.BadParameter("install it with `make setup-modelopt`.", param_hint="--modelopt")
    parallel = tensor_parallel or [1, 2]
    samples: list[Sample] = []
    console, errors = Console(), Console(stderr=True, soft_wrap=True)
    failed = False
    with tempfile.TemporaryDirectory(dir=folder, prefix=".bench-convert.") as made:
        checkpoint, output = Path(made, "checkpoint"), Path(made, "output")
        commands = _commands(checkpoint, output, parallel, modelopt)
        try:
            _make(values, checkpoint, size)
            for done in _rounds(commands, checkpoint, output, rounds):
                samples += done
        except ContestantFailed as error:
            errors.print(f"It failed: {error}", style="red", markup=False)
            failed = True
        except KeyboardInterrupt:
            errors.print("Interrupted: these are the rounds up to then.", style="yellow")
    rows = rows_of(samples, size)
    console.print(_table(rows, size, len({each.round for each in samples})))
    if json_file:
        document = {
            "weights_bytes": size,
            "config": values,
            "figures": {name: asdict(row) for name, row in rows.items()},
            "environment": environment.describe(),
            "samples": [asdict(each) for each in samples],
        }
        json_file.write_text(json.dumps(document) + "\n", encoding="utf-8")
    if failed or not samples:
        raise typer.Exit(1)


def rows_of(samples: Sequence[Sample], size: int) -> dict[str, Row]:
    """The figures of whole rounds by contestant. size: bytes of the weights."""
    seconds = {(each.name, each.round): each.seconds for each in samples}
    rows = {}
    for name in dict.fromkeys(each.name for each in samples):
        own = [each for each in samples if each.name == name]
        rows[name] = Row(
            Figure.over([size / each.seconds for each in own]),
            Figure.over([seconds[COPY, each.round] / each.seconds for each in own]),
            max(each.peak_bytes for each in own),
        )
    return rows


def _make(values: dict[str, Any], checkpoint: Path, size: int) -> None:
    checkpoint.mkdir()
    megabytes = size // 1_000_000
    with shown(megabytes) as report:
        written = reported = 0

        def advance(count: int) -> None:
            nonlocal written, reported
            written += count
            while reported < written // 1_000_000:
                report("writing random weights, MB")
                reported += 1

        random_checkpoint.write(values, checkpoint, advance)


def _commands(checkpoint: Path, output: Path, parallel: list[int], modelopt: bool) -> dict[str, list[str]]:
    folders = [str(checkpoint.resolve()), str(output.resolve())]
    commands = {COPY: ["cp", "-r", *folders]}
    ours = [sys.executable, "-m", "build", "convert", *folders, "--tensor-parallel"]
    for number in parallel:
        commands[f"slipway, {_gpus(number)}"] = [*ours, str(number)]
    if modelopt:
        exporter = [str(MODELOPT_PYTHON), "-m", "bench.peers.modelopt_export", *folders]
        for number in parallel:
            commands[f"{MODELOPT}, {_gpus(number)}"] = [*exporter, str(number)]
    return commands


def _gpus(number: int) -> str:
    return f"{number} GPU{'s' if number > 1 else ''}"


def _rounds(
    commands: dict[str, list[str]], checkpoint: Path, output: Path, rounds: int
) -> Iterator[list[Sample]]:
    """The samples of one round after another."""
    with shown(rounds * len(commands)) as report:
        for number in range(rounds):
            samples = []
            for name in rotated(list(commands), number):
                report(f"round {number + 1}: {name}")
                _forget(checkpoint)
                samples.append(_run(name, number, commands[name]))
                shutil.rmtree(output)
            yield samples


def _forget(checkpoint: Path) -> None:
    """Let the kernel drop what it holds of the files, so that everyone reads them from the disk."""
    os.sync()
    for path in checkpoint.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _run(name: str, number: int, command: list[str]) -> Sample:
    timed = [sys.executable, "-m", "bench.timed", *command]
    process = subprocess.Popen(
        timed,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()  # until the last of them is gone: the folder it writes to will be
        raise
    told = json.loads(out) if out else {"status": process.returncode}
    if told["status"]:
        last = errors.strip().rpartition("\n")[2] or f"it ended with status {told['status']}"
        raise ContestantFailed(f"{name}: {last}")
    return Sample(name, number, told["seconds"], told["peak_bytes"])


def _table(rows: dict[str, Row], size: int, rounds: int) -> Table:
    title = f"{size / 1e9:.1f} GB of weights, median of {rounds} (lowest-highest)"
    table = Table(box=box.SIMPLE, title=title, title_justify="left")
    table.add_column("")
    for heading in ("MB/s", "speed : cp", "peak memory, MB"):
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        speed = Figure(*(each / 1e6 for each in (row.speed.median, row.speed.low, row.speed.high)))
        table.add_row(name, format(speed, ".0f"), format(row.to_copy, ".2f"), f"{row.peak_bytes / 1e6:,.0f}")
    return table
