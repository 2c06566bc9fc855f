"""The command `python -m bench ended`: what an engine still does for an answer that nobody wants.

Definitions:

Too many: tokens that the engine made (`slipway_generated_tokens_total`) and the client was not told; some
    were on their way already when the client left, the deadline passed or the stop string was read.
Until free: from then until the engine has no request (`slipway_running_requests`), asked again and again.
Answers are drawn, so that a step makes one token, and one runs at a time.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Annotated, Any
from urllib.request import Request, urlopen

import typer
from prometheus_client.parser import text_string_to_metric_families
from rich import box
from rich.console import Console
from rich.table import Table

from bench import api_key as key
from bench import environment
from bench.answer import RequestFailed
from bench.api_key import ApiKey
from bench.contest import Figure
from bench.json_file import JsonFile
from bench.progress import shown
from bench.server import Server

TOKENS_READ = 32
DEADLINE_S = 1.0
SETTLED_S = 30.0
ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell a long story."}],
    "temperature": 1.2,
    "logprobs": True,
    "ignore_eos": True,
    "max_tokens": 2000,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: what ended it, tokens too many, seconds until free, and seconds for a token before."""

    cause: str
    too_many: int
    free_s: float
    token_s: float


@dataclass(frozen=True, slots=True)
class Read:
    """What a client has of an answer: its tokens, when the first and the last came, and when it ended."""

    tokens: int
    first: float
    last: float
    over: float


def ended(
    url: Annotated[str, typer.Option(help="Where the server is.")] = "http://127.0.0.1:9000",
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Where its engine's figures are: Triton's metrics port; the server's own if not given."
        ),
    ] = None,
    api_key: ApiKey = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often everything is run.")] = 20,
    json_file: JsonFile = None,
) -> None:
    """Count the tokens that an engine makes for a client that left, after a deadline, after a stop string.

    Of a running server that nobody else asks, `make serve` with --metrics http://127.0.0.1:8002/metrics, or
    `slipway gateway --engine engines/NAME` without.
    """
    samples: list[Sample] = []
    errors = Console(stderr=True, soft_wrap=True)
    with shown(rounds) as report:
        try:
            server = Server(url, SETTLED_S, api_key)
            # Triton's metrics ask for no key, and need not see one.
            headers = {} if metrics else key.header(api_key)
            engine = Engine(
                Request(metrics or f"{server.url}/metrics", headers=headers), server.first_model()
            )
            for number in range(rounds):
                report(f"round {number + 1}")
                samples += [_sample(server, engine, cause, number) for cause in CAUSES]
        except (RequestFailed, OSError) as error:
            errors.print(f"It failed: {error}", style="red", markup=False, highlight=False)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            errors.print("Interrupted: these are the rounds up to then.", style="yellow")
    Console().print(_table(samples))
    if json_file:
        document = {"environment": environment.describe(), "samples": [asdict(each) for each in samples]}
        json_file.write_text(json.dumps(document) + "\n", encoding="utf-8")
    if not samples:
        raise typer.Exit(1)


class Engine:
    """The engine's own counts, of one model."""

    def __init__(self, metrics: Request, model: str) -> None:
        self._metrics = metrics
        self.model = model

    def count(self, name: str) -> int:
        """Raises RequestFailed where it is not told."""
        with urlopen(self._metrics, timeout=SETTLED_S) as response:
            families = text_string_to_metric_families(response.read().decode())
        for family in families:
            for sample in family.samples:
                if sample.name == name and sample.labels.get("model") == self.model:
                    return int(sample.value)
        raise RequestFailed(f"{name} of {self.model} is not on {self._metrics.full_url}; give --metrics")

    def free(self) -> float:
        """When it had no request. Raises RequestFailed when it goes on to have one."""
        began = time.monotonic()
        while self.count("slipway_running_requests"):
            if time.monotonic() - began > SETTLED_S:
                raise RequestFailed("the engine has other requests; measure where nobody else asks")
        return time.monotonic()


def _left(server: Server, body: dict[str, Any]) -> Read:
    return _read(server, body, most=TOKENS_READ)


def _overdue(server: Server, body: dict[str, Any]) -> Read:
    asked = time.monotonic()
    read = _read(server, body | {"timeout": DEADLINE_S})
    return Read(read.tokens, read.first, read.last, asked + DEADLINE_S)


def _stopped(server: Server, body: dict[str, Any]) -> Read:
    return _read(server, body | {"stop": ["."]})


CAUSES: dict[str, Callable[[Server, dict[str, Any]], Read]] = {
    "the client left": _left,
    "a deadline passed": _overdue,
    "a stop string": _stopped,
}


def _sample(server: Server, engine: Engine, cause: str, seed: int) -> Sample:
    engine.free()
    before = engine.count("slipway_generated_tokens_total")
    read = CAUSES[cause](server, ASKED | {"model": engine.model, "seed": seed})
    free = engine.free()
    made = engine.count("slipway_generated_tokens_total") - before
    a_token = (read.last - read.first) / max(1, read.tokens - 1)
    return Sample(cause, made - read.tokens, free - read.over, a_token)


def _read(server: Server, body: dict[str, Any], most: int | None = None) -> Read:
    """An answer up to its end or error, or to so many tokens."""
    tokens, times = 0, []
    with server.stream(body) as events:
        for data in events:
            event = {} if data == "[DONE]" else json.loads(data)
            told = [choice["logprobs"] for choice in event.get("choices", []) if choice.get("logprobs")]
            if told:
                times.append(time.monotonic())
                tokens += sum(len(each["content"]) for each in told)
            if most is not None and tokens >= most:
                break
    if not times:
        raise RequestFailed("the answer has no tokens")
    return Read(tokens, times[0], times[-1], time.monotonic())


def _table(samples: list[Sample]) -> Table:
    step = 1000 * median(each.token_s for each in samples) if samples else 0
    rounds = len(samples) // len(CAUSES)
    title = f"median of {rounds} (lowest-highest); a token every {step:.1f} ms before"
    board = Table(box=box.SIMPLE, title=title, title_justify="left")
    board.add_column("ended by")
    board.add_column("tokens too many", justify="right")
    board.add_column("ms until free", justify="right")
    for cause in CAUSES:
        ours = [each for each in samples if each.cause == cause]
        if ours:
            many, free = (
                Figure.over([each.too_many for each in ours]),
                Figure.over([1000 * each.free_s for each in ours]),
            )
            board.add_row(cause, format(many, ".0f"), format(free, ".0f"))
    return board
