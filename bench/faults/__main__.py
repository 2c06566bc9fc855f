"""The command `python -m bench.faults`: do faults on purpose, and measure what other clients notice."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any

import httpx
import typer

from bench.faults.dying_parts import measure_parts
from bench.faults.everything import do_everything
from bench.faults.full_queue import fill_queue
from bench.faults.hostile_templates import ATTACKS, hostile_engine, send_attacks
from bench.faults.large_bodies import send_large_bodies
from bench.faults.long_answers import ask_for_long_answers
from bench.faults.mutated_bodies import send_mutated_bodies
from bench.faults.rendering import measure_rendering
from bench.faults.slow_grammars import send_slow_grammars
from bench.faults.target import Target
from bench.faults.unread_answers import leave_answers_unread
from bench.faults.vanishing_clients import vanish
from slipway.contract.command import run_command
from slipway.contract.errors import SlipwayError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Url = Annotated[str, typer.Option(help="The gateway.")]
_URL = "http://127.0.0.1:9000"
_TEMPORARY = Path(gettempdir())


@app.callback()
def describe() -> None:
    """Do faults on purpose to a server on this machine, and print what its other clients notice.

    The clients come from several addresses of this machine. So it is for Linux, and a gateway without keys.

    - `python -m bench.faults bodies` sends large bodies while another client asks small questions.
    - `python -m bench.faults queue --answers 1280` asks for ten times as many answers as a queue takes.
    """


@app.command()
def bodies(
    url: Url = _URL,
    count: Annotated[int, typer.Option(min=1, help="How many at once.")] = 8,
    size: Annotated[int, typer.Option(min=1, help="Bytes of each.")] = 4_000_000,
) -> None:
    """Send large bodies of special tokens.

    - `python -m bench.faults bodies` sends 8 of 4 MB at once.
    """
    _show(send_large_bodies(_target(url), count, size))


@app.command()
def readers(
    url: Url = _URL,
    clients: Annotated[int, typer.Option(min=1, help="How many at once.")] = 24,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of each answer; a token takes 2 kB.")] = 150,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for what never comes.")] = 300,
) -> None:
    """Ask for streams, and never read them.

    - `python -m bench.faults readers` has 24 such clients.
    """
    _show(leave_answers_unread(_target(url), clients, max_tokens, patience))


@app.command()
def grammars(
    url: Url = _URL, slow: Annotated[int, typer.Option(min=1, help="How many at once.")] = 6
) -> None:
    """Send grammars that take five seconds to be refused.

    - `python -m bench.faults grammars` sends 6 at once.
    """
    _show(send_slow_grammars(_target(url), slow))


@app.command()
def templates(
    url: Url = _URL,
    engine: Annotated[
        Path | None, typer.Option(help="Write a copy of this engine with the hostile template, and end.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The folder for the copy.")] = _TEMPORARY,
) -> None:
    """Send messages at which the chat template does harm. The server must serve the copy of an engine.

    - `python -m bench.faults templates --engine engines/smollm2-135m-int8` writes the copy.
    - `slipway gateway --engine /tmp/hostile-smollm2-135m-int8` serves it.
    - `python -m bench.faults templates` sends every attack at once.
    """
    if engine is not None:
        print(hostile_engine(engine, output))
        return
    _show(send_attacks(_target(url), tuple(ATTACKS)))


@app.command()
def rendering(engine: Annotated[Path, typer.Argument(metavar="ENGINE", help="A built engine.")]) -> None:
    """Print what it costs that a chat template renders in a process of its own.

    - `python -m bench.faults rendering engines/smollm2-135m-int8`
    """
    print(json.dumps(asdict(measure_rendering(engine)), indent=1))


@app.command()
def queue(
    url: Url = _URL,
    answers: Annotated[int, typer.Option(min=1, help="How many at once.")] = 1280,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of each answer.")] = 16,
    places: Annotated[int, typer.Option(min=1, help="Answers that the gateway runs at once.")] = 19,
) -> None:
    """Ask for many answers at once from one address, and for one at a time from another.

    - `python -m bench.faults queue` asks for ten times as many as the queue of a gateway takes.
    """
    _show(fill_queue(_target(url), answers, max_tokens, places))


@app.command("long")
def long_answers(
    url: Url = _URL,
    answers: Annotated[int, typer.Option(min=1, help="How many at once.")] = 60,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of each answer.")] = 2000,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for a small question.")] = 60,
) -> None:
    """Ask for more long answers from one address than the engine has slots.

    - `python -m bench.faults long` asks for 60 of 2,000 tokens.
    """
    _show(ask_for_long_answers(_target(url), answers, max_tokens, patience))


@app.command()
def parts(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Faults, each by a part of its name, such as `serve: stub`.", show_default="all"),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often each fault is done.")] = 3,
) -> None:
    """Start servers of the sample engine, kill or stop a part of each, and print what its clients see.

    - `python -m bench.faults parts` does every fault three times.
    """
    measure_parts(names or (), runs)


@app.command()
def vanishing(
    url: Url = _URL,
    clients: Annotated[int, typer.Option(min=1, help="How many in all.")] = 1000,
    at_once: Annotated[int, typer.Option(min=1, help="How many at once.")] = 100,
    stay: Annotated[float, typer.Option(min=0, help="Seconds after which the last of these goes.")] = 1.0,
) -> None:
    """Ask for long streams, and go away in the middle.

    - `python -m bench.faults vanishing` has 1,000 such clients.
    """
    _show(vanish(_target(url), clients, at_once, stay))


@app.command()
def mutated(
    url: Url = _URL,
    bodies: Annotated[int, typer.Option(min=1, help="How many.")] = 30_000,
    seed: Annotated[int, typer.Option(help="Other bodies for another seed.")] = 0,
) -> None:
    """Send the examples of the API, each changed at a random place.

    - `python -m bench.faults mutated` sends 30,000.
    """
    _show(send_mutated_bodies(_target(url), bodies, seed=seed))


@app.command("all")
def everything(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Faults, each by a part of its name, such as `serve: stub`.", show_default="all"),
    ] = None,
    bodies: Annotated[int, typer.Option(min=1, help="Mutated bodies for each server.")] = 3000,
) -> None:
    """Start servers of the sample engine, do all faults to each, and print a table.

    It ends with status 1 when answers are lost or cut, errors of the server come, or slots, open files or
    memory are not given back. A figure of time alone is no failure.

    - `python -m bench.faults all` does everything once, in about half an hour.
    - `python -m bench.faults all vanishing SIGTERM` does these alone.
    """
    if do_everything(names or (), bodies):
        raise typer.Exit(1)


def _target(url: str) -> Target:
    try:
        models = httpx.get(f"{url}/v1/models", trust_env=False).raise_for_status().json()["data"]
    except httpx.HTTPError as error:
        raise SlipwayError(
            f"No gateway answers at {url} ({error}); start one, or name it with --url"
        ) from None
    if not models:
        raise SlipwayError(f"The gateway at {url} serves no model now; /health/ready says why")
    return Target(url, models[0]["id"])


def _show(measuring: Coroutine[Any, Any, Any]) -> None:
    try:
        print(json.dumps(asdict(asyncio.run(measuring)), indent=1))
    except httpx.HTTPError as error:
        raise SlipwayError(f"A small question failed: {error!r}") from None


if __name__ == "__main__":
    run_command(app, "python -m bench.faults")
