"""Triton and the gateway together, until Ctrl-C or until one ends; called by `slipway serve`."""

import json
import os
import shlex
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console

from slipway.contract.errors import ServerFailed
from slipway.contract.exposure import check_exposure
from slipway.contract.stage_names import all_names
from slipway.serve import tritonserver
from slipway.serve.child import Child
from slipway.serve.interruption import Interrupted, Interruption
from slipway.serve.ports import Listener, check_free
from slipway.serve.tritonserver import Start
from slipway.triton.repository import root_of

_LOOPBACK = "127.0.0.1"
_POLL_S = 0.1
_PROBE_TIMEOUT_S = 2.0
_GATEWAY_GRACE_S = 10.0
# Triton hears a signal only when it has finished loading, then gives running requests their time.
_TRITON_GRACE_S = tritonserver.EXIT_TIMEOUT_S + 5.0


@dataclass(frozen=True, slots=True)
class Places:
    """What listens where. Triton is there for the gateway alone and stays on the loopback address.

    keys, insecure: the gateway's options of these names.
    """

    host: str
    port: int
    triton: tritonserver.Ports
    keys: Path | None = None
    insecure: bool = False

    @property
    def triton_url(self) -> str:
        """Triton's HTTP service."""
        return f"http://{_LOOPBACK}:{self.triton.http}"

    @property
    def gateway_url(self) -> str:
        """The gateway, as this machine reaches it."""
        return f"http://{_LOOPBACK if self.host == '0.0.0.0' else self.host}:{self.port}"


def serve(repository: Path, places: Places) -> None:
    """Start both, say how to use them, and stay until interrupted.

    Raises ServerFailed when strangers would get in, the key file or a port cannot be had, no model loads, or
    one of the two ends by itself; whatever happens, neither is left running.
    """
    check_exposure(places.host, places.keys is not None, places.insecure)
    if places.keys is not None and not places.keys.is_file():
        raise ServerFailed(
            f"There is no key file {places.keys}; make it with `slipway keys new NAME --file {places.keys}`."
        )
    start = tritonserver.start(repository, _LOOPBACK, places.triton)
    start.check()
    check_free(_listeners(places))
    root = root_of(repository)
    logs = tritonserver.cache_of(repository) / "logs"
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    interruption = Interruption()
    try:
        with ExitStack() as running:
            triton = Child("Triton", start, root, logs / f"triton-{places.triton.http}.log")
            running.callback(triton.end, _TRITON_GRACE_S, interruption)
            url = f"{places.triton_url}/v2/health/ready"
            _wait(console, "Triton loads the models", url, [triton], interruption)
            engines = _ready_engines(console, places, triton)
            gateway = Child("The gateway", _gateway(places), Path.cwd(), logs / f"gateway-{places.port}.log")
            running.callback(gateway.end, _GATEWAY_GRACE_S, interruption)
            url = f"{places.gateway_url}/health/ready"
            _wait(console, "The gateway starts", url, [triton, gateway], interruption)
            _say_how(console, places, engines)
            while True:
                triton.check()
                gateway.check()
                interruption.pause(_POLL_S)
    except Interrupted:
        console.print("Stopped.")


def _listeners(places: Places) -> list[Listener]:
    return [
        Listener("The gateway", places.host, places.port, "--port"),
        Listener("Triton's HTTP service", _LOOPBACK, places.triton.http, "--triton-http-port"),
        Listener("Triton's gRPC service", _LOOPBACK, places.triton.grpc, "--triton-grpc-port"),
        Listener("Triton's metrics", _LOOPBACK, places.triton.metrics, "--triton-metrics-port"),
    ]


def _gateway(places: Places) -> Start:
    command = [sys.executable, "-m", "slipway", "gateway", "--backend", "triton"]
    command += ["--triton-url", f"{_LOOPBACK}:{places.triton.grpc}"]
    command += ["--host", places.host, "--port", str(places.port)]
    if places.keys is not None:
        command += ["--keys", str(places.keys.resolve())]
    if places.insecure:
        command.append("--insecure")
    return Start(command, dict(os.environ))


def _wait(console: Console, what: str, url: str, children: list[Child], interruption: Interruption) -> None:
    """Until `url` answers 200. No time limit: a large engine loads for minutes, and Ctrl-C is at hand."""
    began, told = time.monotonic(), ""
    if not console.is_terminal:
        console.print(f"{what} (log: {_short(children[-1].log)})")
    with console.status(what) as status:
        while True:
            for child in children:
                child.check()
            with suppress(httpx.TransportError):  # Not listening yet.
                answer = _ask("GET", url)
                if answer.status_code == httpx.codes.OK:
                    return
                why = _why_not(answer)
                if why not in ("", told):
                    console.print(f"Not ready: {why}")
                    told = why
            status.update(f"{what} ({time.monotonic() - began:.0f} s; log: {_short(children[-1].log)})")
            interruption.pause(_POLL_S)


def _why_not(answer: httpx.Response) -> str:
    """The gateway's sentence; Triton gives none."""
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _ask(method: str, url: str) -> httpx.Response:
    """Of a server on this machine, and so past a proxy that the environment names."""
    return httpx.request(method, url, timeout=_PROBE_TIMEOUT_S, trust_env=False)


def _ready_engines(console: Console, places: Places, triton: Child) -> list[str]:
    """The engines that are ready; says why for the models that are not.

    Raises ServerFailed when there is none.
    """
    index = _ask("POST", f"{places.triton_url}/v2/repository/index").json()
    states = {model["name"]: model.get("state") for model in index}
    for model in index:
        if model.get("state") != "READY":
            console.print(f"Not served: {model['name']}: {model.get('reason', 'no reason given').strip()}")
    stages = {stage for name in states for stage in all_names(name) if stage != name}
    engines = [name for name, state in states.items() if state == "READY" and name not in stages]
    if not engines:
        raise ServerFailed(
            f"Triton loaded no engine (its log: {_short(triton.log)}); "
            "mend what is named above, or build again with `make engine`."
        )
    return engines


def _say_how(console: Console, places: Places, engines: list[str]) -> None:
    body = {
        "model": engines[0],
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
    }
    key, how = "", ""
    if places.keys is not None:
        key = '-H "Authorization: Bearer $OPENAI_API_KEY" '
        how = f", with a key of {places.keys} in OPENAI_API_KEY"
    console.print(
        f"Serving {', '.join(engines)} at {places.gateway_url}/v1; Ctrl-C stops it. Ask it something{how}:"
    )
    print(
        f"curl -s {places.gateway_url}/v1/chat/completions "
        f"-H 'Content-Type: application/json' {key}-d {shlex.quote(json.dumps(body))}",
        flush=True,
    )


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
