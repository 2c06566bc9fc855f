"""Questions by HTTP to the servers of this machine."""

from contextlib import suppress
from functools import cache

import httpx

from slipway.contract.errors import ServerFailed

_TIMEOUT_S = 2.0


def ask(method: str, url: str) -> httpx.Response:
    """Ask a server on this machine, and so past a proxy that the environment names.

    Raises ServerFailed when it does not answer.
    """
    try:
        return _client().request(method, url)
    except httpx.TransportError as error:
        raise ServerFailed(f"{url} does not answer ({error or type(error).__name__}).") from None


@cache
def _client() -> httpx.Client:
    """One for all: each would read the certificates of all authorities, which takes 30 ms.

    The servers speak plain HTTP. No connection is kept, because a server that hangs would keep it open.
    """
    unkept = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(timeout=_TIMEOUT_S, trust_env=False, verify=False, limits=unkept)


def why_not_ready(url: str) -> str | None:
    """None if `url` answers 200; else the gateway's sentence, or nothing: Triton gives none."""
    with suppress(ServerFailed):  # It does not listen yet.
        reply = ask("GET", url)
        if reply.status_code == httpx.codes.OK:
            return None
        with suppress(ValueError, KeyError, TypeError):
            return str(reply.json()["error"]["message"])
    return ""
