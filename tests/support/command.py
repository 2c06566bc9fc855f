"""Our commands: run as a process, or called in the test's own process."""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir

import typer
from support.paths import ROOT
from typer.testing import CliRunner, Result


def run(
    *command: object,
    status: int | None = None,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m COMMAND` from the checkout's root.

    status: the exit status it must have; with another one, the test fails and shows the output.
    env: variables beside those of the tests. timeout: in seconds.
    """
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if status is not None:
        assert done.returncode == status, f"status {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def called(app: typer.Typer, *words: str) -> Result:
    """Call a command without an interpreter to start, from the checkout's root."""
    with chdir(ROOT):
        return CliRunner().invoke(app, words, catch_exceptions=False)
