"""The command `python -m deploy`: start the servers on this machine."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy import serve as serving
from deploy import tritonserver
from engines.errors import SlipwayError

app = typer.Typer(
    help="Start Slipway's servers on this machine: `serve` both, as `make serve` does, `triton` that alone.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

Repository = Annotated[
    Path,
    typer.Option(
        "--model-repository",
        help="Folder with the models, as `make engine` writes it.",
        show_default="model_repository of the checkout",
    ),
]
_DEFAULT = tritonserver.Ports()
_REPOSITORY = tritonserver.CHECKOUT / "model_repository"


@app.command()
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

    - `python -m deploy triton --dry-run` prints the line.
    """
    ports = tritonserver.Ports(http_port, grpc_port, metrics_port)
    start = tritonserver.start(model_repository.resolve(), host, ports)
    if dry_run:
        print(start)
        return
    start.check()
    os.chdir(tritonserver.CHECKOUT)  # where relative paths in the repository start
    os.execvpe(start.command[0], start.command, start.environment)


@app.command()
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
    here are taken from their variables, such as SLIPWAY_ACCESS_LOG=1 (`python -m gateway --help`). Their logs
    are in .cache/logs.

    - `python -m deploy serve --port 9001 --triton-http-port 9002 --triton-grpc-port 9003
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


def main() -> None:
    """Run the command; what a user can mend is printed as it is, without a traceback."""
    try:
        app()
    except SlipwayError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
