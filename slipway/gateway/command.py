"""slipway gateway: the OpenAI-compatible server, as a command."""

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from slipway.contract.errors import SlipwayError
from slipway.contract.exposure import check_exposure
from slipway.gateway import server
from slipway.gateway.keys.access import Access
from slipway.gateway.keys.keys import Keys
from slipway.gateway.settings import Settings
from slipway.gateway.workers import run_workers

DEFAULT_TRITON_URL = "127.0.0.1:8001"
DEFAULT_ENGINES = Path("engines")
_DEFAULT = Settings()
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/?#\s]+")


class BackendKind(StrEnum):
    """Where the engines run."""

    local = "local"
    triton = "triton"


def main(
    engine: Annotated[
        Path | None,
        typer.Option(
            envvar="SLIPWAY_ENGINE", help="Built engine to run on this machine.", show_default=False
        ),
    ] = None,
    backend: Annotated[
        BackendKind | None,
        typer.Option(
            envvar="SLIPWAY_BACKEND",
            help="local runs the engine of --engine in a worker process; triton asks a Triton server.",
            show_default="local",
        ),
    ] = None,
    triton_url: Annotated[
        str | None,
        typer.Option(
            envvar="SLIPWAY_TRITON_URL",
            help="Triton's gRPC address; the gateway may be up before it.",
            show_default=DEFAULT_TRITON_URL,
        ),
    ] = None,
    engines: Annotated[
        Path | None,
        typer.Option(
            envvar="SLIPWAY_ENGINES",
            help="Folder of the built engines that Triton serves.",
            show_default=str(DEFAULT_ENGINES),
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            envvar="SLIPWAY_THREADS", min=1, help="CPU threads of a local engine.", show_default="all cores"
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(envvar="SLIPWAY_HOST", help="Address to listen on; 0.0.0.0 for every network.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="SLIPWAY_PORT", min=0, max=65535, help="0 takes a free one.")
    ] = 9000,
    max_body_bytes: Annotated[
        int, typer.Option(envvar="SLIPWAY_MAX_BODY_BYTES", min=1, help="Longest request body.")
    ] = _DEFAULT.max_body_bytes,
    arrival_timeout: Annotated[
        float,
        typer.Option(
            envvar="SLIPWAY_ARRIVAL_TIMEOUT", min=0.1, help="Seconds for a request's head, and for its body."
        ),
    ] = _DEFAULT.arrival_s,
    max_queue: Annotated[
        int,
        typer.Option(
            envvar="SLIPWAY_MAX_QUEUE",
            min=0,
            help="Answers that may wait for each model, beside those in its slots; past it, 429.",
        ),
    ] = _DEFAULT.max_queue,
    max_request_tokens: Annotated[
        int,
        typer.Option(
            envvar="SLIPWAY_MAX_REQUEST_TOKENS",
            min=1,
            help="Tokens that several answers to one request may have together.",
        ),
    ] = _DEFAULT.max_request_tokens,
    timeout: Annotated[
        float,
        typer.Option(
            envvar="SLIPWAY_TIMEOUT",
            min=0.1,
            help="Seconds that a request may take from its arrival; `timeout` in its body asks for fewer.",
        ),
    ] = _DEFAULT.timeout_s,
    workers: Annotated[
        int,
        typer.Option(
            envvar="SLIPWAY_WORKERS",
            min=1,
            help="Processes that share the port, with --backend triton on Linux.",
        ),
    ] = 1,
    access_log: Annotated[
        bool,
        typer.Option(
            "--access-log", envvar="SLIPWAY_ACCESS_LOG", help="Write a line of JSON for each request."
        ),
    ] = _DEFAULT.access_log,
    keys: Annotated[
        Path | None,
        typer.Option(
            envvar="SLIPWAY_KEYS",
            help="File of the keys that requests must have; `slipway keys --help`.",
            show_default="none asked for",
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            envvar="SLIPWAY_INSECURE",
            help="Ask for no key, though other machines reach --host.",
        ),
    ] = False,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SLIPWAY_CORS_ORIGIN",
            help="Origin whose pages may read answers, such as http://localhost:3000; repeatable.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Serve engines under OpenAI's API (chat, completions, responses) and Anthropic's (messages).

    slipway gateway --engine engines/smollm2-135m-int4

    slipway gateway --backend triton
    """
    _refuse_contradictions(engine, backend, triton_url, engines, threads)
    if workers > 1:
        _refuse_workers(workers, backend)
    if keys is not None and insecure:
        _refuse("--insecure is for a server without keys; leave it out, or --keys.")
    for origin in cors_origin or ():
        if not _ORIGIN.fullmatch(origin):
            _refuse(
                f"--cors-origin {origin} is no origin as browsers send it; give scheme, host and port alone, "
                "such as http://localhost:3000, or * for all pages."
            )
    try:
        check_exposure(host, keys is not None, insecure)
        settings = Settings(
            max_body_bytes=max_body_bytes,
            arrival_s=arrival_timeout,
            max_queue=max_queue,
            max_request_tokens=max_request_tokens,
            timeout_s=timeout,
            access_log=access_log,
            access=Access(None if keys is None else Keys(keys), tuple(cors_origin or ())),
        )
        if backend == BackendKind.triton:
            start = server.triton(engines or DEFAULT_ENGINES, triton_url or DEFAULT_TRITON_URL, max_queue)
        else:
            assert engine is not None
            start = server.local(engine, threads, max_queue)
        listeners = server.listen(host, port, workers)
        if backend != BackendKind.triton:
            typer.echo(f"Loading {engine}", err=True)
        greeting = server.greeting(listeners[0], start)
        if workers == 1:
            server.run(start, listeners[0], settings, lambda: print(greeting, flush=True))
        else:
            run_workers(
                listeners, lambda listener, serving: server.run(start, listener, settings, serving), greeting
            )
    except SlipwayError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _refuse_contradictions(
    engine: Path | None,
    backend: BackendKind | None,
    triton_url: str | None,
    engines: Path | None,
    threads: int | None,
) -> None:
    if backend == BackendKind.triton and (engine is not None or threads is not None):
        given = "--engine" if engine is not None else "--threads"
        _refuse(f"{given} is for the local backend; leave it out with --backend triton.")
    if backend != BackendKind.triton and (triton_url is not None or engines is not None):
        given = "--triton-url" if triton_url is not None else "--engines"
        _refuse(f"{given} is for Triton; add --backend triton or leave it out.")
    if backend != BackendKind.triton and engine is None:
        _refuse("Say what to serve: --engine engines/NAME, or --backend triton.")


def _refuse_workers(workers: int, backend: BackendKind | None) -> None:
    if backend != BackendKind.triton:
        _refuse(
            f"--workers is {workers}, but a local engine is one process, which one server process feeds; "
            "leave it out, or serve with --backend triton."
        )
    if sys.platform != "linux":
        _refuse(
            f"--workers is {workers}, but only Linux spreads connections among processes on one port; "
            "leave it out, or put a load balancer before several gateways."
        )


def _refuse(sentence: str) -> None:
    typer.echo(sentence, err=True)
    raise typer.Exit(2)
