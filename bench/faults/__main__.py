"""The command `python -m bench.faults`: do faults on purpose, and measure what other clients notice."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Annotated, Any

import httpx
import typer

from bench.faults.dying_parts import measure_parts
from bench.faults.full_queue import fill_queue
from bench.faults.large_bodies import send_large_bodies
from bench.faults.slow_grammars import send_slow_grammars
from bench.faults.target import Target
from bench.faults.unread_answers import leave_answers_unread
from slipway.contract.command import run_command

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="""Do faults on purpose to a server on this machine, and print what its other clients notice.

    The clients come from several addresses of this machine, so it is for Linux, and for a gateway without
    keys.
    """,
)
Url = Annotated[str, typer.Option(help="The gateway.")]
_URL = "http://127.0.0.1:9000"


@app.command()
def bodies(url: Url = _URL, count: int = 8, size: int = 4_000_000) -> None:
    """Send COUNT bodies of SIZE bytes of special tokens at once."""
    _show(send_large_bodies(_target(url), count, size))


@app.command()
def readers(url: Url = _URL, clients: int = 24, max_tokens: int = 400, patience: float = 120) -> None:
    """Let CLIENTS ask for streams that they never read."""
    _show(leave_answers_unread(_target(url), clients, max_tokens, patience))


@app.command()
def grammars(url: Url = _URL, slow: int = 6) -> None:
    """Send SLOW grammars at once, each of which takes five seconds to be refused."""
    _show(send_slow_grammars(_target(url), slow))


@app.command()
def queue(
    url: Url = _URL,
    answers: Annotated[int, typer.Option(help="Ten times the queue, for example.")] = 1280,
    max_tokens: int = 16,
    places: Annotated[int, typer.Option(help="Answers that the gateway runs at once.")] = 19,
) -> None:
    """Ask for ANSWERS answers at once from one address, and one at a time from another."""
    _show(fill_queue(_target(url), answers, max_tokens, places))


@app.command()
def parts(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Faults, each by a part of its name, such as `serve: stub`.", show_default="all"),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often each fault is done.")] = 3,
) -> None:
    """Start servers of the sample engine, kill or stop a part of each, and print what its clients see."""
    measure_parts(names or (), runs)


def _target(url: str) -> Target:
    models = httpx.get(f"{url}/v1/models", trust_env=False).raise_for_status().json()["data"]
    return Target(url, models[0]["id"])


def _show(measuring: Coroutine[Any, Any, Any]) -> None:
    print(json.dumps(asdict(asyncio.run(measuring)), indent=1))


if __name__ == "__main__":
    run_command(app, "python -m bench.faults")
