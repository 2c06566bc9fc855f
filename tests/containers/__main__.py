"""`make containers-check`: build the images, run them with compose, ask, break, drain and remove them.

Each step prints a line. The commands and their output are in .cache/logs/containers-check.log. The exit
status is 0 when every step passed. Variables: PROFILES (cpu, triton-cpu), MODEL, BASE, CONTAINER_ENGINE,
COMPOSE.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from containers import checks
from containers.checks import Profile
from containers.container_engine import CommandFailed, ContainerEngine, find
from support.paths import ROOT
from support.servers import free_port

PROJECT = "slipway-check"
LOG = ROOT / ".cache" / "logs" / "containers-check.log"


def main() -> int:
    """Run the steps of each profile; return the exit status."""
    model = os.environ.get("MODEL") or "smollm2-135m-int4"
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        engines = Path(folder) / "engines"
        shutil.copytree(ROOT / "engines" / model, engines / model)
        # For user 1000 of the containers.
        Path(folder).chmod(0o755)
        settings = {
            "ENGINES": str(engines),
            "SLIPWAY_ALIAS": f"{checks.ALIAS}={model}",
            "SLIPWAY_DRAIN_TIMEOUT": "120",
            "SLIPWAY_ENGINE": f"engines/{model}",
            "SLIPWAY_MODEL_REPOSITORY": "/tmp/model_repository",  # the models are made from the engines
            "SLIPWAY_PORT": str(port),
            "STOP_GRACE_PERIOD": "150s",
        }
        try:
            engine = find(PROJECT, settings, LOG)
            print(f"{engine.run('--version').strip()}, {' '.join(engine.compose)}", flush=True)
            for name in (os.environ.get("PROFILES") or "cpu").split():
                _check_profile(engine, checks.PROFILES[name], f"http://127.0.0.1:{port}", model)
        except _StepFailed:
            return 1
        except CommandFailed as error:
            print(error)
            return 1
    print("All steps passed.")
    return 0


class _StepFailed(Exception):
    """The step has printed why."""


def _check_profile(engine: ContainerEngine, profile: Profile, url: str, model: str) -> None:
    print(f"\n{profile.name}: {', '.join(profile.services)}", flush=True)
    try:
        for title, check in checks.steps(engine, profile, url, model):
            with _step(title) as note:
                note.append(check())
    except BaseException:
        for service in profile.services:
            print(f"--- the last lines of {service}")
            print(engine.logs(service, 30) if engine.containers(service) else "It has no container.")
        raise
    finally:
        if engine.containers():
            engine.run("rm", "--force", *engine.containers())


@contextmanager
def _step(title: str) -> Iterator[list[str]]:
    start, note = time.monotonic(), list[str]()
    try:
        yield note
    except (Exception, KeyboardInterrupt) as error:
        print(
            f"failed {time.monotonic() - start:6.1f} s  {title}: {error or type(error).__name__}", flush=True
        )
        raise _StepFailed from error
    print(f"ok     {time.monotonic() - start:6.1f} s  {title}: {note[0]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
