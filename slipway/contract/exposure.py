"""Whether a server would be open to strangers; asked by `gateway` and by `deploy` before they start one."""

import ipaddress
import socket

from slipway.contract.errors import ServerFailed


def check_exposure(host: str, keys: bool, insecure: bool) -> None:
    """Raise ServerFailed where other machines would reach a server that asks nobody for a key.

    host: an address or a name; one that cannot be found out is left to whoever listens there.
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
            "everybody may use it."
        )
