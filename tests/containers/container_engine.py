"""Docker, or Podman where Docker is not: the commands of the container engine, and of its compose."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.paths import ROOT

# Labels that Docker's compose and podman-compose both give.
_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"
# Builds fetch packages, on any network.
_TIMEOUT_S = 1800


class CommandFailed(Exception):
    """A command of the container engine ended with an error."""


@dataclass(frozen=True)
class ContainerEngine:
    """`docker` or `podman`, a project of compose, and the environment that its commands run in."""

    program: str
    compose: tuple[str, ...]
    project: str
    environment: Mapping[str, str]
    log: Path

    def run(self, *words: str) -> str:
        """Run a command of the engine, and return what it prints. Raises CommandFailed."""
        return self._call([self.program, *words])

    def run_compose(self, profile: str, *words: str) -> str:
        """Run a command of compose. Raises CommandFailed."""
        return self._call([*self.compose, "--project-name", self.project, "--profile", profile, *words])

    def container(self, service: str) -> str:
        """The id of the container of a service. Raises CommandFailed when there is none."""
        found = self.containers(service)
        if not found:
            raise CommandFailed(f"there is no container of {service}")
        return found[0]

    def containers(self, service: str | None = None) -> list[str]:
        """The ids of the project's containers, those that ended too."""
        filters = [f"label={_PROJECT}={self.project}"]
        filters += [f"label={_SERVICE}={service}"] if service else []
        listed = self.run(
            "ps", "--all", "--quiet", *(word for each in filters for word in ("--filter", each))
        )
        return listed.split()

    def inspect(self, service: str) -> dict[str, Any]:
        """The state and the settings of a service's container."""
        [found] = json.loads(self.run("inspect", self.container(service)))
        return dict(found)

    def image_bytes(self, image: str) -> int:
        """The size of an image."""
        return int(self.run("image", "inspect", "--format", "{{.Size}}", image))

    def logs(self, service: str, lines: int) -> str:
        """The last lines that a service printed."""
        command = [self.program, "logs", "--tail", str(lines), self.container(service)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def _call(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise CommandFailed(
                f"`{' '.join(command)}` ended with {done.returncode}: {' '.join(last)} (more in {self.log})"
            )
        return done.stdout


def find(project: str, environment: Mapping[str, str], log: Path) -> ContainerEngine:
    """The engine of this machine. CONTAINER_ENGINE and COMPOSE in the environment name others."""
    chosen = os.environ.get("CONTAINER_ENGINE") or ("docker" if _docker_runs() else "podman")
    if shutil.which(chosen) is None:
        raise CommandFailed("neither Docker with its compose plugin nor Podman is installed and running")
    podman_compose = str(Path(sys.executable).parent / "podman-compose")
    given = os.environ.get("COMPOSE")
    compose = given.split() if given else ["docker", "compose"] if chosen == "docker" else [podman_compose]
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("")
    return ContainerEngine(chosen, tuple(compose), project, {**os.environ, **environment}, log)


def _docker_runs() -> bool:
    if shutil.which("docker") is None:
        return False
    asked = (["docker", "info"], ["docker", "compose", "version"])
    return all(subprocess.run(each, capture_output=True, check=False).returncode == 0 for each in asked)
