"""A check that a server without keys listens on this machine only."""

import ipaddress
import socket

from slipway.contract.errors import ServerFailed


def check_exposure(host: str, keys: bool, insecure: bool) -> None:
    """Raise ServerFailed if other machines can reach the server and it asks for no keys.

    host: an address or a name. A name that does not resolve passes; listening on it then fails.
    """
    if keys or insecure:
        return
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    except OSError:
        return
    if not ipaddress.ip_address(str(found).partition("%")[0]).is_loopback:
        raise ServerFailed(
            f"At {host} other machines reach this server, and it asks for no keys: give it some with --keys "
            "FILE (`slipway keys new NAME --file FILE` makes one), or say with --insecure that "
            "everyone may use it."
        )
