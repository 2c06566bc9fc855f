"""UK AISI's Inspect, with its provider for OpenAI-compatible servers."""

import os
from pathlib import Path

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import GenerateConfig, ResponseSchema
from inspect_ai.scorer import includes, match
from inspect_ai.solver import generate, multiple_choice, use_tools
from inspect_ai.tool import ToolFunction, tool
from inspect_ai.util import json_schema
from pydantic import BaseModel

FRANCE = Sample("What is the capital of France?", target="Paris")


class City(BaseModel):
    """A city."""

    name: str


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLIPWAY_BASE_URL", os.environ["OPENAI_BASE_URL"])
    monkeypatch.setenv("SLIPWAY_API_KEY", "unused")


def evaluated(task: Task) -> EvalLog:
    model = f"openai-api/slipway/{os.environ['MODEL']}"
    [log] = eval(task, model=model, temperature=0, max_tokens=64, display="none")
    assert log.status == "success", log.error
    return log


def test_generate() -> None:
    log = evaluated(Task(dataset=[FRANCE], solver=generate(), scorer=includes()))
    assert log.samples[0].scores["includes"].value == "C"


def test_multiple_choice() -> None:
    sample = Sample("The capital of France?", choices=["Rome", "Paris"], target="B")
    evaluated(Task(dataset=[sample], solver=multiple_choice(), scorer=match()))


def test_tool_loop() -> None:
    @tool
    def weather():  # type: ignore[no-untyped-def]
        async def execute(city: str) -> str:
            """The weather in a city.

            Args:
                city: Its name.
            """
            return f"It rains in {city}."

        return execute

    solver = [use_tools(weather(), tool_choice=ToolFunction("weather")), generate(tool_calls="single")]
    log = evaluated(Task(dataset=[Sample("Seoul?")], solver=solver))
    assert any(message.role == "tool" for message in log.samples[0].messages)


def test_structured_output() -> None:
    schema = ResponseSchema(name="city", json_schema=json_schema(City))
    config = GenerateConfig(response_schema=schema)
    log = evaluated(Task(dataset=[FRANCE], solver=generate(), config=config))
    assert City.model_validate_json(log.samples[0].output.completion).name


def test_log_probabilities() -> None:
    config = GenerateConfig(logprobs=True, top_logprobs=2)
    log = evaluated(Task(dataset=[FRANCE], solver=generate(), config=config))
    assert log.samples[0].output.choices[0].logprobs.content
