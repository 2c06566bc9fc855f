"""Our commands called in the test's own process, with no interpreter to start: what they say, their status.

Used by the unit tests; that `python -m` itself starts them, the integration tests show.
"""

from contextlib import chdir

import typer
from click.testing import Result
from support.paths import ROOT
from typer.testing import CliRunner


def called(app: typer.Typer, *words: str) -> Result:
    """What `python -m ROOM words` says, from the checkout's root as the pages tell it to be run."""
    with chdir(ROOT):
        return CliRunner().invoke(app, words, catch_exceptions=False)
