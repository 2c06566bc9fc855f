"""The command `slipway gateway`: the OpenAI-compatible server."""

import re
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from slipway.contract.exposure import check_exposure
from slipway.gateway.log import say
from slipway.gateway.settings import Settings

DEFAULT_TRITON_URL = "127.0.0.1:8001"
DEFAULT_ENGINES = Path("engines")
_ALIAS = re.compile(r"[^=\s]+=[^=\s]+")
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/?#\s]+")


class BackendKind(StrEnum):
    """Where the engines run."""

    local = "local"
    triton = "triton"


@dataclass(frozen=True, kw_only=True)
class GatewayOptions(Settings):
    """The settings, and what the gateway serves."""

    engine: Annotated[
        list[Path] | None,
        typer.Option(
            envvar="SLIPWAY_ENGINE",
            help="Built engine to run on this machine; repeatable, each is a model.",
            show_default=False,
        ),
    ] = None
    backend: Annotated[
        BackendKind | None,
        typer.Option(
            envvar="SLIPWAY_BACKEND",
            help="local runs the engine of --engine in a worker process; triton asks a Triton server.",
            show_default="local",
        ),
    ] = None
    triton_url: Annotated[
        str | None,
        typer.Option(
            envvar="SLIPWAY_TRITON_URL",
            help="Triton's gRPC address; the gateway may be up before it.",
            show_default=DEFAULT_TRITON_URL,
        ),
    ] = None
    engines: Annotated[
        Path | None,
        typer.Option(
            envvar="SLIPWAY_ENGINES",
            help="Folder of the built engines that Triton serves.",
            show_default=str(DEFAULT_ENGINES),
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            envvar="SLIPWAY_THREADS", min=1, help="CPU threads of a local engine.", show_default="all cores"
        ),
    ] = None

    @property
    def local(self) -> bool:
        """Whether this process starts the engine."""
        return self.backend != BackendKind.triton


def gateway(options: GatewayOptions) -> None:
    """Serve engines under OpenAI's API (chat, completions, responses) and Anthropic's (messages).

    It prints the address of the API as soon as it answers. Ctrl-C or SIGTERM ends it: requests that run have
    the seconds of --drain-timeout to end, and new ones are refused. A second signal ends all at once.

    - `slipway gateway --engine engines/smollm2-135m-int4` runs one engine in a process of this machine.
    - `slipway gateway --engine engines/A --engine engines/B --alias gpt-4o=A` runs two, one with two names.
    - `slipway gateway --backend triton` serves what the Triton at 127.0.0.1:8001 has loaded.
    - `slipway gateway --backend triton --host 0.0.0.0 --keys keys.yaml` serves a team, with keys.
    """
    _refuse_contradictions(options)
    check_exposure(options.host, options.keys is not None, options.insecure)
    # Only now, because these bring the web framework, which takes a second.
    from slipway.gateway import server
    from slipway.gateway.workers import run_workers

    _ = options.access  # Read now: a broken key file is known before an engine is loaded.
    if options.local:
        start = server.local(options.engine or (), options.threads, options)
    else:
        engines, url = options.engines or DEFAULT_ENGINES, options.triton_url or DEFAULT_TRITON_URL
        start = server.triton(engines, url, options)
    listeners = server.listen(options.host, options.port, options.workers)
    if options.local:
        say(f"Loading {', '.join(map(str, options.engine or ()))}", sys.stderr)
    greeting = server.greeting(listeners[0], start)
    if options.workers == 1:
        server.run(start, listeners[0], options, lambda: say(greeting, sys.stdout))
    else:
        run_workers(
            listeners,
            lambda listener, serving: server.run(start, listener, options, serving),
            greeting,
            options.drain_timeout,
        )


def _refuse_contradictions(options: GatewayOptions) -> None:
    if options.local:
        if options.triton_url is not None or options.engines is not None:
            given = "--triton-url" if options.triton_url is not None else "--engines"
            _refuse(f"{given} is for Triton; add --backend triton or leave it out.")
        if not options.engine:
            _refuse("Say what to serve: --engine engines/NAME (or SLIPWAY_ENGINE), or --backend triton.")
    elif options.engine or options.threads is not None:
        given = "--engine" if options.engine else "--threads"
        _refuse(f"{given} is for the local backend; leave it out with --backend triton.")
    if options.workers > 1:
        _refuse_workers(options)
    if odd := next((each for each in options.alias or () if not _ALIAS.fullmatch(each)), None):
        _refuse(f"--alias {odd} is not ALIAS=MODEL; give both names, such as gpt-4o=my-model.")
    if options.keys is not None and options.insecure:
        _refuse("--insecure is for a server without keys; leave it out, or --keys.")
    for origin in options.cors_origin or ():
        if not _ORIGIN.fullmatch(origin):
            _refuse(
                f"--cors-origin {origin} is no origin as browsers send it; give scheme, host and port alone, "
                "such as http://localhost:3000, or * for all pages."
            )


def _refuse_workers(options: GatewayOptions) -> None:
    if options.local:
        _refuse(
            f"--workers is {options.workers}, but a local engine is one process, which one server process "
            "feeds; leave it out, or serve with --backend triton."
        )
    if sys.platform != "linux":
        _refuse(
            f"--workers is {options.workers}, but only Linux spreads connections among processes on one "
            "port; leave it out, or put a load balancer before several gateways."
        )


def _refuse(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(2)
