"""The reference pages of the site, as mkdocs gets them."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params
from support.paths import ROOT

OPENAI = {
    "/v1/chat/completions": (
        chat_create_params.CompletionCreateParamsBase,
        chat_create_params.CompletionCreateParamsStreaming,
    ),
    "/v1/completions": (
        completion_create_params.CompletionCreateParamsBase,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAKE = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    made = subprocess.run(
        [sys.executable, "-m", "docs.reference"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    pages: dict[str, str] = json.loads(made.stdout)
    return pages


def rows(page: str, heading: str) -> dict[str, list[str]]:
    """The cells of each row of the first table below `heading`, by the name in the first cell."""
    section = page.partition(f"{heading}\n")[2].partition("\n#")[0]
    cells = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {row[0].split("`")[1]: row for row in cells}


@pytest.mark.parametrize("path", OPENAI)
def test_every_field_of_openais_client_is_listed(reference: dict[str, str], path: str) -> None:
    fields = {name for each in OPENAI[path] for name in each.__annotations__}
    assert fields <= rows(reference["api"], f"## POST {path}").keys()


def test_a_row_says_what_each_kind_of_engine_does_with_the_field(reference: dict[str, str]) -> None:
    chats = rows(reference["api"], "## POST /v1/chat/completions")
    completions = rows(reference["api"], "## POST /v1/completions")
    assert chats["user"][2:5] == ["ignored", "ignored", "ignored"]
    assert chats["structured_outputs"][2:5] == ["yes", "yes", "no"]
    assert chats["top_logprobs"][2:5] == ["yes", "no", "no"]
    assert chats["min_tokens"][2:5] == ["yes", "partly", "no"]
    assert completions["suffix"][2:5] == ["no", "no", "no"]
    assert completions["logprobs"][2:5] == ["yes", "partly", "no"]


def test_every_recipe_key_is_described(reference: dict[str, str]) -> None:
    keys = rows(reference["recipe"], "## Keys")
    assert {"name", "limits.max_seq_len", "chat.system"} <= keys.keys()
    assert all(len(row) == 5 and row[4] for row in keys.values())


def test_options_have_their_variable_and_default(reference: dict[str, str]) -> None:
    options = rows(reference["commands"], "### slipway gateway")
    assert options["--port <int range>"][1:3] == ["`SLIPWAY_PORT`", "9000"]


def test_metrics_are_those_of_a_gateway(reference: dict[str, str]) -> None:
    assert {"slipway_requests_total", "slipway_queued_requests"} <= rows(
        reference["metrics"], "# Metrics"
    ).keys()


def commands_of(page: Path) -> list[str]:
    blocks = re.findall(r"^```(?:sh|bat)\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines() if line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_shows_commands_and_options_that_exist(page: Path, reference: dict[str, str]) -> None:
    for line in commands_of(page):
        line = re.sub(r"^\.venv(\\Scripts\\|/bin/)", "", line.replace("SLIPWAY_SPECULATION=0 ", ""))
        words = shlex.split(line, posix="\\" not in line)
        if words[0] == "make":
            assert words[1] in MAKE, line
        match = re.match(r"(slipway|python -m (?:build|client|bench(?:\.faults)?))((?: [a-z-]+)*)", line)
        if not match:
            continue
        name = match[1] + match[2]
        while f"# {name}\n" not in reference["commands"]:
            name = name.rpartition(" ")[0]
            assert name, f"{line}: no such command"
        known = set(re.findall(r"--[a-z-]+", " ".join(rows(reference["commands"], f"# {name}"))))
        assert {word for word in words if word.startswith("--")} <= known | {"--help", "--version"}, line
