"""The Dockerfiles and compose files, read as the container engine reads them."""

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from support.paths import ROOT

DOCKERFILES = tuple(sorted((ROOT / "docker").glob("*.Dockerfile")))
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


@dataclass
class Image:
    """What an image is at last, with what it has from the stages it is made from."""

    environment: dict[str, str] = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)  # destination by source
    words: dict[str, str] = field(default_factory=dict)  # by instruction, the last one

    @property
    def command(self) -> list[str]:
        """The words of CMD."""
        return list(ast.literal_eval(self.words["CMD"]))

    @property
    def health_check(self) -> list[str]:
        """The words of HEALTHCHECK's command."""
        return list(ast.literal_eval(self.words["HEALTHCHECK"].partition("CMD ")[2]))

    @property
    def ports(self) -> list[str]:
        """What EXPOSE names."""
        return self.words["EXPOSE"].split()


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Instruction and argument, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, argument.strip()) for name, _, argument in map(_split, text.splitlines()) if name]


def arguments(dockerfile: Path) -> dict[str, str]:
    """The defaults of the build arguments."""
    given = (argument.partition("=") for name, argument in instructions(dockerfile) if name == "ARG")
    return {name: default for name, _, default in given}


def image(dockerfile: Path, target: str | None) -> Image:
    """The image of a stage, the last one if none is named."""
    made: dict[str, Image] = {}
    now = Image()
    for name, argument in instructions(dockerfile):
        if name == "FROM":
            base, _, stage = argument.partition(" AS ")
            known = made.get(base, Image())
            now = Image(dict(known.environment), dict(known.copied), dict(known.words))
            made[stage or "last"] = made["last"] = now
        elif name == "ENV":
            now.environment |= dict(pair.split("=", 1) for pair in argument.split())
        elif name == "COPY" and not argument.startswith("--from"):
            *sources, destination = argument.split()
            now.copied |= dict.fromkeys(sources, destination)
        else:
            now.words[name] = argument
    return made[target or "last"]


@cache
def services() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml, where no variable is set."""
    return dict(yaml.safe_load(compose_text("compose.yaml"))["services"])


def compose_text(name: str) -> str:
    """A compose file with the defaults of its variables."""
    return _VARIABLE.sub(lambda found: found[2] or "", (ROOT / name).read_text())


def dockerfile_of(service: dict[str, Any]) -> Path:
    """The Dockerfile that a service is built from."""
    return ROOT / str(service["build"]["context"]) / str(service["build"]["dockerfile"])


def image_of(service: dict[str, Any]) -> Image:
    """The image that a service is built from."""
    return image(dockerfile_of(service), service["build"].get("target"))


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(" ")
