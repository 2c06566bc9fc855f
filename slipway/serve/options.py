"""The options of the commands that start Triton."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from typer import Option

from slipway.gateway.settings import DrainTimeout, Settings
from slipway.serve.ports import Ports

_PORTS = Ports()
_Repository = Annotated[
    Path,
    Option(envvar="SLIPWAY_MODEL_REPOSITORY", help="Folder with the models, as `make engine` writes it."),
]
_HttpPort = Annotated[
    int,
    Option(
        envvar="SLIPWAY_TRITON_HTTP_PORT",
        min=1,
        max=65535,
        help="Triton's HTTP: health, generate, repository index.",
    ),
]
_GrpcPort = Annotated[
    int,
    Option(envvar="SLIPWAY_TRITON_GRPC_PORT", min=1, max=65535, help="Triton's gRPC: what the gateway uses."),
]
_MetricsPort = Annotated[
    int,
    Option(
        envvar="SLIPWAY_TRITON_METRICS_PORT",
        min=1,
        max=65535,
        help="Triton's metrics for Prometheus, at /metrics.",
    ),
]

ReadyTimeout = Annotated[
    float,
    Option(envvar="SLIPWAY_READY_TIMEOUT", min=1, help="Seconds until the engines must be loaded."),
]


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """Triton alone."""

    model_repository: _Repository = Path("model_repository")
    engines: Annotated[
        Path,
        Option(
            envvar="SLIPWAY_ENGINES",
            help="Folder of built engines. Their models are written first where --model-repository has none.",
        ),
    ] = Path("engines")
    host: Annotated[
        str, Option(envvar="SLIPWAY_TRITON_HOST", help="Address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1"
    http_port: _HttpPort = _PORTS.http
    grpc_port: _GrpcPort = _PORTS.grpc
    metrics_port: _MetricsPort = _PORTS.metrics
    ready_timeout: ReadyTimeout = 600.0
    drain_timeout: DrainTimeout = 30.0
    dry_run: Annotated[bool, Option("--dry-run", help="Print the command; start nothing.")] = False

    @property
    def ports(self) -> Ports:
        """Where Triton listens."""
        return Ports(self.http_port, self.grpc_port, self.metrics_port)


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Settings):
    """Triton, and what the gateway in front of it takes."""

    model_repository: _Repository = Path("model_repository")
    triton_http_port: _HttpPort = _PORTS.http
    triton_grpc_port: _GrpcPort = _PORTS.grpc
    triton_metrics_port: _MetricsPort = _PORTS.metrics
    ready_timeout: ReadyTimeout = 600.0

    @property
    def triton_ports(self) -> Ports:
        """Where Triton listens."""
        return Ports(self.triton_http_port, self.triton_grpc_port, self.triton_metrics_port)
