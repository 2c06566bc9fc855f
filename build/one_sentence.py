"""How a command ends when something is wrong that somebody can mend; around all of `python -m build`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from slipway.contract.errors import SlipwayError


@contextmanager
def one_sentence() -> Iterator[None]:
    """A mendable error ends the command with its sentence on stderr, not with a traceback."""
    try:
        yield
    except SlipwayError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    except OSError as error:
        print(f"{error.filename or 'The build'}: {error.strerror or error}.", file=sys.stderr)
        raise typer.Exit(1) from None
