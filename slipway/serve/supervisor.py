"""Triton and the gateway together, until Ctrl-C or until one of them ends."""

import json
import os
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from slipway.contract.errors import ServerFailed
from slipway.contract.exposure import check_exposure
from slipway.contract.stage_names import all_names
from slipway.gateway.options import arguments
from slipway.serve import tritonserver
from slipway.serve.child import Child
from slipway.serve.interruption import Interrupted, Interruption
from slipway.serve.options import ServeOptions
from slipway.serve.ports import Listener, check_free
from slipway.serve.startup import Startup, ask, short
from slipway.serve.tritonserver import CommandLine
from slipway.triton.engine_folder import root_of

_LOOPBACK = "127.0.0.1"
_POLL_S = 0.1
_GATEWAY_GRACE_S = 10.0
# Triton hears a signal only when it has finished loading, then gives running requests their time.
_TRITON_GRACE_S = tritonserver.EXIT_TIMEOUT_S + 5.0


def serve(options: ServeOptions) -> None:
    """Start both, say how to use them, and stay until interrupted. Triton listens on the loopback alone.

    Raises ServerFailed when strangers would get in, the key file or a port cannot be had, no model loads, a
    server is not ready in time, or one of the two ends by itself. Neither is then left running.
    """
    interruption = Interruption()
    check_exposure(options.host, options.keys is not None, options.insecure)
    if options.keys is not None and not options.keys.is_file():
        raise ServerFailed(
            f"There is no key file {options.keys}; make it with "
            f"`slipway keys new NAME --file {options.keys}`."
        )
    repository = options.model_repository.resolve()
    start = tritonserver.start(repository, _LOOPBACK, options.triton_ports)
    start.check()
    check_free(listeners(options))
    logs = tritonserver.cache_of(repository) / "logs"
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    startup = Startup(console, interruption, options.ready_timeout)
    triton_url = f"http://{_LOOPBACK}:{options.triton_http_port}"
    try:
        with ExitStack() as running:
            triton = Child(
                "Triton", start, root_of(repository), logs / f"triton-{options.triton_http_port}.log"
            )
            running.callback(triton.end, _TRITON_GRACE_S, interruption)
            startup.wait("Triton loads the models", f"{triton_url}/v2/health/ready", [triton])
            engines = _ready_engines(console, triton_url, triton)
            gateway = Child(
                "The gateway", _gateway(options), Path.cwd(), logs / f"gateway-{options.port}.log"
            )
            running.callback(gateway.end, _GATEWAY_GRACE_S, interruption)
            startup.wait("The gateway starts", f"{_gateway_url(options)}/health/ready", [triton, gateway])
            _print_usage(console, options, engines)
            while True:
                triton.check()
                gateway.check()
                interruption.pause(_POLL_S)
    except Interrupted:
        console.print("Stopped.")


def listeners(options: ServeOptions) -> list[Listener]:
    """The services of both servers, and their ports."""
    return [
        Listener("The gateway", options.host, options.port, "--port"),
        Listener("Triton's HTTP service", _LOOPBACK, options.triton_http_port, "--triton-http-port"),
        Listener("Triton's gRPC service", _LOOPBACK, options.triton_grpc_port, "--triton-grpc-port"),
        Listener("Triton's metrics", _LOOPBACK, options.triton_metrics_port, "--triton-metrics-port"),
    ]


def _gateway_url(options: ServeOptions) -> str:
    """The gateway, as this machine reaches it."""
    return f"http://{_LOOPBACK if options.host == '0.0.0.0' else options.host}:{options.port}"


def _gateway(options: ServeOptions) -> CommandLine:
    command = [sys.executable, "-m", "slipway", "gateway", "--backend", "triton"]
    command += ["--triton-url", f"{_LOOPBACK}:{options.triton_grpc_port}", *arguments(options)]
    return CommandLine(command, dict(os.environ))


def _ready_engines(console: Console, triton_url: str, triton: Child) -> list[str]:
    """The engines that are ready; says why for the models that are not.

    Raises ServerFailed when there is none.
    """
    index = ask("POST", f"{triton_url}/v2/repository/index").json()
    states = {model["name"]: model.get("state") for model in index}
    for model in index:
        if model.get("state") != "READY":
            console.print(f"Not served: {model['name']}: {model.get('reason', 'no reason given').strip()}")
    stages = {stage for name in states for stage in all_names(name) if stage != name}
    engines = [name for name, state in states.items() if state == "READY" and name not in stages]
    if not engines:
        raise ServerFailed(
            f"Triton loaded no engine (its log: {short(triton.log)}); "
            "correct what is named above, or build again with `make engine`."
        )
    return engines


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
