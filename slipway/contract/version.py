"""The version of the installed package."""

from importlib import metadata


def version() -> str:
    """The version of Slipway, as its package says it."""
    return metadata.version("slipway")
