"""A finished engine, tried out as serving loads it."""

import subprocess
import sys
from pathlib import Path

from build import progress
from build.checkout import CHECKOUT
from slipway.contract.errors import BuildError


def run(engine: Path) -> None:
    """Load an engine and generate a few tokens. Raises BuildError with what went wrong."""
    progress.say("Generating a few tokens")
    # --cpu: the machine may lack the GPU that it builds for, and the graph runs on a CPU too.
    command = [sys.executable, "-m", "slipway", "check", str(engine.resolve()), "--cpu"]
    ran = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise BuildError(
            f"The engine was built but does not work: {ran.stderr.strip().removeprefix('error: ')}"
        )
    progress.say(ran.stdout.strip())
