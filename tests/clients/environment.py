"""An environment that holds one client."""

import json
import os
import shutil
import subprocess
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clients.catalog import Client
from clients.report import Check, read_junit
from support.paths import ROOT

TIMEOUT_S = 900


class EnvironmentFailed(Exception):
    """The client does not install, or its checks do not start; the message is the last line of output."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A folder with the packages of one client."""

    client: Client
    directory: Path

    def install(self) -> None:
        """Make the folder, unless it holds what is required already. Raises EnvironmentFailed."""
        required, installed = self.client.requirements, self.directory / "installed"
        if installed.is_file() and installed.read_bytes() == required.read_bytes():
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        if self.client.in_node:
            shutil.copyfile(required, self.directory / "package.json")
            command = ["npm", "install", "--silent", "--prefix", str(self.directory)]
        else:
            venv.create(self.directory, with_pip=True)
            command = ["requirements/install", str(self._python), "-r", str(required)]
        done = _run(command, ROOT, {})
        if done.returncode:
            raise EnvironmentFailed(_last_line(done))
        shutil.copyfile(required, installed)

    def check(self, variables: Mapping[str, str]) -> list[Check]:
        """Run its checks with these environment variables. Raises EnvironmentFailed."""
        results = self.directory / "results.xml"
        results.unlink(missing_ok=True)
        program = self.client.program
        if self.client.in_node:
            shutil.copyfile(program, self.directory / program.name)
            reporter = ["--test-reporter=junit", f"--test-reporter-destination={results}"]
            command = ["node", "--test", *reporter, program.name]
        else:
            options = ["-c", os.devnull, "-q", "-p", "no:cacheprovider", "--noconftest"]
            options.append("--import-mode=importlib")
            command = [str(self._python), "-m", "pytest", *options, f"--junitxml={results}", str(program)]
        path = f"{self._python.parent}{os.pathsep}{os.environ['PATH']}"
        done = _run(command, self.directory, {**variables, "PATH": path})
        if not results.is_file():
            raise EnvironmentFailed(_last_line(done))
        return read_junit(results, self.client.name, self._version())

    @property
    def _python(self) -> Path:
        return self.directory / "bin" / "python"

    def _version(self) -> str:
        package = self.client.package
        if self.client.in_node:
            found = json.loads((self.directory / "node_modules" / package / "package.json").read_text())
            return str(found["version"])
        code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
        return subprocess.check_output([self._python, "-c", code], text=True).strip()


def _run(
    command: list[str], directory: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(
        command, cwd=directory, env={**os.environ, **variables}, timeout=TIMEOUT_S, check=False, **output
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines else f"it ended with status {done.returncode}"
