"""What came of the clients: their checks, and the page about them."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

MAX_FAILURE = 160


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a client did. failure: the reason; None when it worked."""

    client: str
    version: str
    what: str
    failure: str | None


def read_junit(path: Path, client: str, version: str) -> list[Check]:
    """The checks in a JUnit file, as pytest and Node's test runner write it."""
    checks = []
    for case in ET.parse(path).iter("testcase"):
        failures = [*case.iter("failure"), *case.iter("error")]
        name = case.attrib["name"].removeprefix("test_")
        what = re.sub(r"\[(.+)\]$", r" of \1", name).replace("_", " ")
        checks.append(Check(client, version, what, _reason(failures[0]) if failures else None))
    return checks


def _reason(failure: ET.Element) -> str:
    lines = (failure.attrib.get("message") or failure.text or "it failed").strip().splitlines()
    return lines[0][:MAX_FAILURE]


def page(checks: Sequence[Check], notes: Sequence[str], engine: str, date: datetime) -> str:
    """The page in the docs."""
    lines = [
        "# Clients that were run",
        "",
        f"For people who ask whether their program works with Slipway. Written by `make clients` on "
        f"{date:%Y-%m-%d}: each program in an environment of its own, against `slipway gateway` with the "
        f"engine {engine}.",
        "",
        "One program at a time: `PYTHONPATH=tests .venv/bin/python -m clients langchain`.",
        "",
        "| program | version | works | fails |",
        "|---|---|---|---|",
    ]
    for (client, version), group in groupby(checks, lambda check: (check.client, check.version)):
        each = list(group)
        works = ", ".join(check.what for check in each if check.failure is None)
        fails = "<br>".join(f"{check.what}: {_escaped(check.failure)}" for check in each if check.failure)
        lines.append(f"| {client} | {version} | {works or '-'} | {fails or '-'} |")
    lines += ["", "What to know about some of them:", "", *(f"- {note}" for note in notes), ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
