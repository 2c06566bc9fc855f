"""The version of the installed package."""

from importlib import metadata


def version() -> str:
    """The version of Slipway."""
    return metadata.version("slipway")
