"""Errors that a person can mend, as the commands print them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from slipway.contract.disk_errors import explain
from slipway.contract.errors import SlipwayError


@contextmanager
def report_errors() -> Iterator[None]:
    """Print a SlipwayError, an OSError or a lack of memory to stderr, and exit with status 1."""
    try:
        yield
    except SlipwayError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    except MemoryError as error:
        print(f"The build stopped: {explain(error)}", file=sys.stderr)
        raise typer.Exit(1) from None
    except OSError as error:
        print(f"{error.filename or 'The build'}: {error.strerror or error}.", file=sys.stderr)
        raise typer.Exit(1) from None
