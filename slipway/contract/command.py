"""How a command ends: its exit status, and an error as one sentence on standard error."""

import sys
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from slipway.contract.disk_errors import explain
from slipway.contract.errors import SlipwayError


def run_command(app: typer.Typer, name: str) -> NoReturn:
    """Run `app`, which help and usage call `name`, and exit.

    A wrong option is one line, whatever the terminal's width, with exit status 2. A SlipwayError, a full disk
    and a lack of memory have 1.
    """
    try:
        sys.exit(app(prog_name=name, standalone_mode=False))
    except TyperException as error:
        message = error.format_message()
        if message:  # Without arguments the help has been shown, and there is no message.
            print(f"error: {message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SlipwayError as error:
        sys.exit(f"error: {error}")
    except (OSError, MemoryError) as error:
        if (said := explain(error)) is None:
            raise
        sys.exit(f"error: {said}")
    except typer.Abort:
        sys.exit("Aborted.")
