"""A check of TensorRT-LLM engines on a real GPU: build, serve, compare, measure, report.

It runs the commands that a person would type: `docker compose run build`, `docker compose up triton`,
`python -m bench run`. It compares the answers with those of transformers and writes a report.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from build import progress
from build.checkout import CHECKOUT
from build.checkpoint import reference, sample
from build.trtllm import container
from build.trtllm.agreement import Agreement
from slipway.contract import gpus
from slipway.contract.errors import BuildError, NoGpu, RecipeError
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Recipe
from slipway.contract.recipe_file import read_recipe
from slipway.text.template import ChatTemplate, TemplateSource
from slipway.text.tokenizer import Tokenizer

RECIPES = tuple(Path(f"engines/smollm2-135m-trtllm-{name}.yaml") for name in ("bf16", "int8", "int4"))
SAMPLE = Path("checkpoints/smollm2-135m-instruct")
QUESTIONS = (
    "What is the capital of France?",
    "Name three colours of the rainbow.",
    "How many days does a week have?",
    "Write one sentence about the sea.",
    "What do bees make?",
    "Count from one to ten.",
    "What is the opposite of cold?",
    "Translate 'good morning' into Spanish.",
)
# The share of answers of an unquantized engine that must start with the checkpoint's token. It is not 1,
# because 16 bits round differently than 32.
_MIN_SAME_FIRST = 0.75
_SERVE = ("docker", "compose", "--profile", "gpu")
_POLL_S = 0.5
_ANSWER_TIMEOUT_S = 120.0
_SHUTDOWN_S = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """The results of one engine. measured: the summary of `python -m bench run`."""

    manifest: Manifest
    agreement: Agreement
    measured: dict[str, Any]


def check(
    recipes: Sequence[Path], max_tokens: int, duration: float, url: str, ready_within: float, report: Path
) -> str:
    """Build, serve, compare and measure the engines, and write `report`; returns a message for the user.

    Raises SlipwayError, and writes no report, when there is no GPU or no Docker, a step fails, or the answers
    of an unquantized engine start differently from those of its checkpoint.
    """
    try:
        device = gpus.installed()[0]
    except NoGpu as error:
        raise BuildError(
            f"The check needs an NVIDIA GPU, and here is none. {error} Without one, run `make test`."
        ) from None
    _check_docker()
    wanted = [read_recipe(path) for path in recipes]
    for path, recipe in zip(recipes, wanted, strict=True):
        if recipe.adapters:
            raise RecipeError(
                f"{path} has adapters, but the answers are compared with its checkpoint, which has none; "
                "merge them with `python -m build merge`, and give the result as the checkpoint."
            )
    if any(recipe.checkpoint == SAMPLE for recipe in wanted):
        progress.say(sample.write(SAMPLE))
    for path, recipe in zip(recipes, wanted, strict=True):
        user = f"{os.getuid()}:{os.getgid()}"
        build = container.arguments(recipe, [str(path)])
        _run("docker", "compose", "run", "--rm", "--user", user, *build)
    references = _reference_answers(wanted, max_tokens)  # before the servers take the cores
    with _served(url, [recipe.name for recipe in wanted], ready_within):
        results = [
            _check_engine(recipe, answers, max_tokens, duration, url)
            for recipe, answers in zip(wanted, references, strict=True)
        ]
    for recipe, result in zip(wanted, results, strict=True):
        if recipe.quantization == "none" and result.agreement.first < _MIN_SAME_FIRST * len(QUESTIONS):
            raise BuildError(
                f"{recipe.name} is not quantized, and yet only {result.agreement.first} of {len(QUESTIONS)} "
                "answers start as those of its checkpoint; the engine is not the model."
            )
    report.write_text(_page(str(device), results, max_tokens, duration), encoding="utf-8")
    return f"{report} has the results."


def _reference_answers(recipes: Sequence[Recipe], max_tokens: int) -> list[list[str]]:
    """The checkpoint's answers for each recipe; recipes with the same checkpoint and prompts share them."""
    known: dict[tuple[Path, tuple[str, ...]], list[str]] = {}
    for recipe in recipes:
        key = checkpoint, prompts = recipe.checkpoint, _prompts(recipe)
        if key not in known:
            with progress.step(f"Asking transformers with {checkpoint}", len(prompts)) as advance:
                known[key] = reference.greedy_answers(checkpoint, prompts, max_tokens, advance)
    return [known[recipe.checkpoint, _prompts(recipe)] for recipe in recipes]


def _check_docker() -> None:
    there = shutil.which("docker") and subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    )
    if not there or there.returncode:
        raise BuildError(
            "The check builds and serves in NVIDIA's container, and `docker compose` is not here; install "
            "Docker with its compose plugin and NVIDIA's container toolkit."
        )


def _run(*command: str) -> None:
    """Run a step with its output on the screen."""
    progress.say(f"$ {shlex.join(command)}")
    status = subprocess.run(command, cwd=CHECKOUT, check=False).returncode
    if status:
        raise BuildError(f"{shlex.join(command)} ended with {status}; its output is above.")


@contextmanager
def _served(url: str, names: Sequence[str], ready_within: float) -> Iterator[None]:
    """Run Triton and the gateway in their containers; enter when all engines answer."""
    log = CHECKOUT / ".cache" / "logs" / "gpu-check.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    progress.say(f"$ {shlex.join([*_SERVE, 'up', 'triton'])} (log: {log.relative_to(CHECKOUT)})")
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            [*_SERVE, "up", "triton"],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as server,
    ):
        try:
            _wait(url, names, server, log, ready_within)
            yield
        finally:
            _end(server)
            subprocess.run([*_SERVE, "down"], cwd=CHECKOUT, capture_output=True, check=False)


def _wait(
    url: str, names: Sequence[str], server: "subprocess.Popen[bytes]", log: Path, ready_within: float
) -> None:
    deadline = time.monotonic() + ready_within
    missing = set(names)
    while missing:
        if server.poll() is not None:
            raise BuildError(f"The servers ended unexpectedly; {log} says why.")
        if time.monotonic() > deadline:
            raise BuildError(
                f"{', '.join(sorted(missing))}: not served after {ready_within:.0f} s; {log} says why."
            )
        with suppress(httpx.TransportError, ValueError, KeyError):  # not there yet
            listed = httpx.get(f"{url}/v1/models", timeout=_POLL_S * 4, trust_env=False).json()["data"]
            missing = set(names) - {model["id"] for model in listed}
        time.sleep(_POLL_S)


def _end(server: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(server.pid, signal.SIGINT)
        server.wait(_SHUTDOWN_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


def _engine(recipe: Recipe) -> Path:
    return CHECKOUT / "engines" / recipe.name


def _prompts(recipe: Recipe) -> tuple[str, ...]:
    engine = _engine(recipe)
    template = ChatTemplate.of(TemplateSource.read(engine, Tokenizer.load(engine).special_tokens))
    return tuple(template.render([{"role": "user", "content": question}]) for question in QUESTIONS)


def _check_engine(
    recipe: Recipe, reference_answers: list[str], max_tokens: int, duration: float, url: str
) -> Result:
    engine = _engine(recipe)
    prompts = _prompts(recipe)
    with progress.step(f"Asking {recipe.name}", len(prompts)) as advance:
        answers = []
        for prompt in prompts:
            answers.append(_answer(url, recipe.name, prompt, max_tokens))
            advance(1)
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "run.json"
        load = ("--model", recipe.name, "--duration", str(duration), "--json", str(measured))
        _run(sys.executable, "-m", "bench", "run", "--url", url, *load)
        summary = json.loads(measured.read_text(encoding="utf-8"))["summary"]
    agreement = Agreement.of(answers, reference_answers, Tokenizer.load(engine))
    return Result(Manifest.read(engine), agreement, summary)


def _answer(url: str, model: str, prompt: str, max_tokens: int) -> str:
    body = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
    reply = httpx.post(f"{url}/v1/completions", json=body, timeout=_ANSWER_TIMEOUT_S, trust_env=False)
    if reply.status_code != httpx.codes.OK:
        raise BuildError(f"{model} answered with status {reply.status_code}: {reply.text.strip()}")
    return str(reply.json()["choices"][0]["text"])


def _page(device: str, results: Sequence[Result], max_tokens: int, duration: float) -> str:
    first = results[0].manifest
    versions = ", ".join(f"{name} {version}" for name, version in sorted(first.versions.items()))
    rows = [
        "| engine | weights | MB | same first token | same answers | tokens before the first difference | "
        "tokens/s | TTFT p50 | TPOT p50 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        agreed, summary = result.agreement, result.measured
        size = sum(file.size for file in result.manifest.files.values()) / 1e6
        rows.append(
            f"| {result.manifest.name} | {result.manifest.method} | {size:.0f} | {agreed.first} of "
            f"{agreed.answers} | {agreed.same} of {agreed.answers} | {agreed.leading:.0%} | "
            f"{summary['output_tokens_per_s']:.0f} | {_milliseconds(summary['ttft_s'])} | "
            f"{_milliseconds(summary['tpot_s'])} |"
        )
    return "\n".join(
        [
            "# Engines on a GPU",
            "",
            f"Written by `make gpu-check` on {datetime.now(UTC):%Y-%m-%d}, on {device}: {versions}.",
            "",
            *rows,
            "",
            f"Greedy answers of up to {max_tokens} tokens to {len(QUESTIONS)} questions, over the gateway "
            "and Triton, compared with transformers in fp32 with the checkpoint. After the first difference "
            "two greedy answers diverge, so later tokens are not compared. Speed: `python -m bench run "
            f"--duration {duration:g}`, with the other settings at their defaults.",
            "",
        ]
    )


def _milliseconds(distribution: dict[str, float] | None) -> str:
    return "-" if distribution is None else f"{distribution['p50'] * 1000:.1f} ms"
