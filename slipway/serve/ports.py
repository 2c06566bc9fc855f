"""Whether ports are free, asked before any server starts; called by `deploy.serve`."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from slipway.contract.errors import ServerFailed


@dataclass(frozen=True, slots=True)
class Listener:
    """What is going to listen where, and the option that moves it."""

    what: str
    host: str
    port: int
    option: str


def check_free(listeners: Iterable[Listener]) -> None:
    """Raise ServerFailed that names the first port that cannot be listened on, and the way out."""
    taken: dict[int, str] = {}
    for listener in listeners:
        if listener.port in taken:
            raise ServerFailed(
                f"Port {listener.port} is given to both {taken[listener.port]} and {listener.what}; "
                f"choose another for one of them: {listener.option} PORT."
            )
        taken[listener.port] = listener.what
        family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: a port that only lingers in TIME_WAIT counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((listener.host, listener.port))
            except OSError as error:
                raise ServerFailed(
                    f"{listener.what} cannot listen on port {listener.port} of {listener.host} "
                    f"({error.strerror}); stop what uses it, or choose another: {listener.option} PORT."
                ) from None
