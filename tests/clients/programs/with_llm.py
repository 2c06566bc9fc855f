"""Simon Willison's `llm`, from the command line, as its users configure it for a server of their own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

FRANCE = "What is the capital of France?"


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    model = {
        "model_id": "sample",
        "model_name": os.environ["MODEL"],
        "api_base": os.environ["OPENAI_BASE_URL"],
        "supports_tools": True,
        "supports_schema": True,
    }
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))


def llm(*arguments: str) -> str:
    done = subprocess.run(["llm", *arguments], capture_output=True, text=True, check=False, input="")
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
    return done.stdout


def test_prompt() -> None:
    assert "Paris" in llm("-m", "sample", "-o", "temperature", "0", FRANCE)


def test_prompt_without_a_stream() -> None:
    assert "Paris" in llm("-m", "sample", "-o", "temperature", "0", "--no-stream", FRANCE)


def test_conversation() -> None:
    llm("-m", "sample", "-o", "max_tokens", "32", FRANCE)
    assert llm("-c", "-o", "max_tokens", "32", "And of Spain?")


def test_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["Paris", "Rome"]}, "people": {"type": "integer", "maximum": 10**8}},
        "required": ["name", "people"],
        "additionalProperties": False,
    }
    made = json.loads(llm("-m", "sample", "-o", "temperature", "0", "--schema", json.dumps(schema), FRANCE))
    assert isinstance(made["people"], int)


def test_offered_tool() -> None:
    options = ("-o", "temperature", "0", "-o", "max_tokens", "64")
    assert llm("-m", "sample", *options, "--functions", "def double(n: int) -> int: return 2 * n", "Hi")
