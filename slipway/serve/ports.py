"""The ports of the servers, and whether they are free."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from slipway.contract.errors import ServerFailed


@dataclass(frozen=True, slots=True)
class Ports:
    """Where Triton listens."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002


@dataclass(frozen=True, slots=True)
class Listener:
    """A service, its address, and the option that changes its port."""

    service: str
    host: str
    port: int
    option: str


def check_free(listeners: Iterable[Listener]) -> None:
    """Raise ServerFailed that names the first port that cannot be used, and the option to change it."""
    taken: dict[int, str] = {}
    for listener in listeners:
        service, port, another = listener.service, listener.port, f"choose another: {listener.option} PORT"
        if port == 0:
            raise ServerFailed(
                f"{service} needs a port that the other server knows, and 0 is any; {another}."
            )
        if port in taken:
            raise ServerFailed(f"Port {port} is given to both {taken[port]} and {service}; {another}.")
        taken[port] = service
        family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: a port that only lingers in TIME_WAIT counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((listener.host, port))
            except OSError as error:
                raise ServerFailed(
                    f"{service} cannot listen on port {port} of {listener.host} ({error.strerror}); "
                    f"stop what uses it, or {another}."
                ) from None
