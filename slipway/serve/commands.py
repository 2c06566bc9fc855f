"""The command `slipway`: start the servers on this machine."""

import os
from pathlib import Path
from typing import Annotated

import typer

from slipway.serve import supervisor as serving
from slipway.serve import tritonserver
from slipway.triton.repository import root_of

Repository = Annotated[
    Path,
    typer.Option(
        "--model-repository",
        help="Folder with the models, as `make engine` writes it.",
    ),
]
_DEFAULT = tritonserver.Ports()
_REPOSITORY = Path("model_repository")


def triton(
    model_repository: Repository = _REPOSITORY,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    http_port: Annotated[
        int, typer.Option(min=1, max=65535, help="HTTP: health, generate, repository index.")
    ] = _DEFAULT.http,
    grpc_port: Annotated[
        int, typer.Option(min=1, max=65535, help="gRPC: what the gateway uses.")
    ] = _DEFAULT.grpc,
    metrics_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Prometheus metrics, at /metrics.")
    ] = _DEFAULT.metrics,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the command; start nothing.")] = False,
) -> None:
    """Run Triton alone, in the foreground, with its log as it is.

    This process becomes Triton: Ctrl-C, signals and the exit status are Triton's own. Where an engine takes
    several GPUs it becomes mpirun, with a process for each.

    - `slipway triton --dry-run` prints the line.
    """
    ports = tritonserver.Ports(http_port, grpc_port, metrics_port)
    start = tritonserver.start(model_repository.resolve(), host, ports)
    if dry_run:
        print(start)
        return
    start.check()
    os.chdir(root_of(model_repository))
    os.execvpe(start.command[0], start.command, start.environment)


def serve(
    model_repository: Repository = _REPOSITORY,
    host: Annotated[
        str, typer.Option(envvar="SLIPWAY_HOST", help="Address of the gateway; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="SLIPWAY_PORT", min=1, max=65535, help="Port of the gateway.")
    ] = 9000,
    triton_http_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Triton's HTTP port.")
    ] = _DEFAULT.http,
    triton_grpc_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Triton's gRPC port.")
    ] = _DEFAULT.grpc,
    triton_metrics_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Triton's metrics port.")
    ] = _DEFAULT.metrics,
    keys: Annotated[
        Path | None,
        typer.Option(
            envvar="SLIPWAY_KEYS", help="The gateway's key file.", show_default="no key is asked for"
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
) -> None:
    """Run Triton and the gateway together, until Ctrl-C.

    Triton listens on this machine's loopback only; the gateway speaks OpenAI's API. Its options that are not
    here are taken from their variables, such as SLIPWAY_ACCESS_LOG=1 (`slipway gateway --help`). Their logs
    are in .cache/logs.

    - `slipway serve --port 9001 --triton-http-port 9002 --triton-grpc-port 9003
      --triton-metrics-port 9004` is a second one beside the first.
    """
    places = serving.Places(
        host,
        port,
        tritonserver.Ports(triton_http_port, triton_grpc_port, triton_metrics_port),
        keys,
        insecure,
    )
    serving.serve(model_repository.resolve(), places)
