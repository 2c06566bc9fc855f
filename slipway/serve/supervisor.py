"""What `slipway serve` and `slipway triton` run: Triton, and the gateway in front of it."""

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

# Before gRPC is imported: this process forks while it asks Triton, and its children use no gRPC of its own.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from slipway.contract.errors import ServerFailed
from slipway.contract.exposure import check_exposure
from slipway.gateway.options import arguments
from slipway.serve import tritonserver
from slipway.serve.engines import Engines
from slipway.serve.local_http import ask
from slipway.serve.options import ServeOptions, TritonOptions
from slipway.serve.part import Program
from slipway.serve.ports import Listener, Ports, check_free
from slipway.serve.supervision import short, supervise
from slipway.serve.triton_health import TritonHealth
from slipway.serve.tritonserver import CommandLine
from slipway.triton.engine_folder import root_of

_LOOPBACK = "127.0.0.1"
# A stage may read long prompts, one after another. What is dead is known within seconds all the same.
_TRITON_SILENT_S = 30.0
# The gateway may check long bodies.
_GATEWAY_SILENT_S = 60.0
# Beyond the drain: for the last events, and for closing the engines.
_GATEWAY_CLOSE_S = 10.0
# Triton hears a signal only when it has finished loading, then gives running requests their time.
_TRITON_GRACE_S = tritonserver.EXIT_TIMEOUT_S + 5.0


def serve(options: ServeOptions) -> None:
    """Start both, say how to use them, and stay until interrupted. Triton listens on the loopback alone.

    Raises ServerFailed when strangers would get in, the key file or a port cannot be had, no model loads, a
    server is not ready in time, or one of the two dies again and again. Neither is then left running.
    """
    check_exposure(options.host, options.keys is not None, options.insecure)
    if options.keys is not None and not options.keys.is_file():
        raise ServerFailed(
            f"There is no key file {options.keys}; make it with "
            f"`slipway keys new NAME --file {options.keys}`."
        )
    repository, ports = options.model_repository.resolve(), options.triton_ports
    start = tritonserver.start(repository, _LOOPBACK, ports)
    start.check()
    check_free(listeners(options))
    logs = tritonserver.cache_of(repository) / "logs"
    log = logs / f"triton-{ports.http}.log"
    console, engines = _console(), Engines(f"http://{_LOOPBACK}:{ports.http}")
    triton = replace(
        _triton(start, repository, _LOOPBACK, ports, options.ready_timeout),
        log=log,
        confirm=lambda: engines.find(console, short(log)),
    )
    gateway = _gateway(options, logs / f"gateway-{options.port}.log")
    supervise([triton, gateway], console, lambda: _print_usage(console, options, engines.ready))


def triton(options: TritonOptions, start: CommandLine) -> None:
    """Run Triton alone, with its output on the terminal, until interrupted.

    Raises ServerFailed when it is not ready in time, or dies again and again.
    """
    host = _LOOPBACK if options.host == "0.0.0.0" else options.host
    engines = Engines(f"http://{host}:{options.http_port}")
    triton = replace(
        _triton(start, options.model_repository.resolve(), host, options.ports, options.ready_timeout),
        drain=lambda interruption: engines.drain(options.drain_timeout, interruption),
    )
    supervise([triton], _console(), lambda: None)


def listeners(options: ServeOptions) -> list[Listener]:
    """The services of both servers, and their ports."""
    return [
        Listener("The gateway", options.host, options.port, "--port"),
        Listener("Triton's HTTP service", _LOOPBACK, options.triton_http_port, "--triton-http-port"),
        Listener("Triton's gRPC service", _LOOPBACK, options.triton_grpc_port, "--triton-grpc-port"),
        Listener("Triton's metrics", _LOOPBACK, options.triton_metrics_port, "--triton-metrics-port"),
    ]


def _triton(start: CommandLine, repository: Path, host: str, ports: Ports, ready_s: float) -> Program:
    url = f"http://{host}:{ports.http}"
    return Program(
        name="Triton",
        start=start,
        directory=root_of(repository),
        ready_url=f"{url}/v2/health/ready",
        ready_s=ready_s,
        ask=TritonHealth(repository, url, f"{host}:{ports.grpc}").ask,
        silent_s=_TRITON_SILENT_S,
        grace_s=_TRITON_GRACE_S,
        clean=lambda: tritonserver.free_memory(ports),
    )


def _gateway(options: ServeOptions, log: Path) -> Program:
    command = [sys.executable, "-m", "slipway", "gateway", "--backend", "triton"]
    command += ["--triton-url", f"{_LOOPBACK}:{options.triton_grpc_port}", *arguments(options)]
    url = _gateway_url(options)
    return Program(
        name="The gateway",
        start=CommandLine(command, dict(os.environ)),
        directory=Path.cwd(),
        log=log,
        ready_url=f"{url}/health/ready",
        ready_s=options.ready_timeout,
        ask=lambda: _check_live(url),
        silent_s=_GATEWAY_SILENT_S,
        grace_s=options.drain_timeout + _GATEWAY_CLOSE_S,
    )


def _check_live(url: str) -> None:
    """Any answer is a sign of life."""
    ask("GET", f"{url}/health/live")


def _gateway_url(options: ServeOptions) -> str:
    """The gateway, as this machine reaches it."""
    return f"http://{_LOOPBACK if options.host == '0.0.0.0' else options.host}:{options.port}"


def _console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def _print_usage(console: Console, options: ServeOptions, engines: list[str]) -> None:
    body = {
        "model": engines[0],
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
    }
    header, hint = "", ""
    if options.keys is not None:
        header = '-H "Authorization: Bearer $OPENAI_API_KEY" '
        hint = f", with a key of {options.keys} in OPENAI_API_KEY"
    url = _gateway_url(options)
    console.print(f"Serving {', '.join(engines)} at {url}/v1; Ctrl-C stops it. Ask it something{hint}:")
    print(
        f"curl -s {url}/v1/chat/completions "
        f"-H 'Content-Type: application/json' {header}-d {shlex.quote(json.dumps(body))}",
        flush=True,
    )
