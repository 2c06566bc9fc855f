"""The OpenAPI document and the server say the same: schemathesis asks what it allows, and what it forbids."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.instant_gateway import InstantGateway, instant_gateway
from support.paths import ROOT

from slipway.gateway.app import EXAMPLES
from slipway.gateway.shapes.error import ErrorBody


@pytest.fixture(scope="module")
def gateway(engine_dir: Path) -> Iterator[InstantGateway]:
    with instant_gateway(engine_dir) as gateway:
        yield gateway


def test_the_server_keeps_to_its_document(gateway: InstantGateway, tmp_path: Path) -> None:
    """Answers, each event of a stream, and errors have the documented shapes; no 5xx; what the document
    forbids is refused. What it allows may be refused all the same, for what no schema can say."""
    bounds = ["--phases=examples,coverage,fuzzing", "--max-examples=10", "--seed=1", "--request-timeout=60"]
    checks = ["--exclude-checks=positive_data_acceptance", "--generation-database=none", "--no-color"]
    document = f"{gateway.url}/openapi.json"
    # As many messages as may be, and one more, can be more than a body may have: 413.
    refusals = '[checks.negative_data_rejection]\nexpected-statuses = ["4xx"]\n'
    (tmp_path / "schemathesis.toml").write_text(refusals)
    done = subprocess.run(
        [str(Path(sys.executable).parent / "schemathesis"), "run", document, *bounds, *checks],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "support.openapi_hooks", "SERVED_MODEL": gateway.model}
        | {"PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]


def test_every_example_can_be_sent_as_it_is(gateway: InstantGateway) -> None:
    document = httpx.get(f"{gateway.url}/openapi.json").json()
    posts = {path: each["post"] for path, each in document["paths"].items() if "post" in each}
    assert posts
    for path, operation in posts.items():
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        for name, example in examples.items():
            response = httpx.post(f"{gateway.url}{path}", json=example["value"])
            assert response.status_code == 200, (path, name, response.text)


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_examples_of_answers_have_the_shape_of_answers(gateway: InstantGateway, path: str) -> None:
    document = httpx.get(f"{gateway.url}/openapi.json").json()
    content = document["paths"][path]["post"]["responses"]["200"]["content"]
    asked = {"model": gateway.model, **next(iter(EXAMPLES[path].asked.values()))}
    answer = httpx.post(f"{gateway.url}{path}", json=asked).json()
    assert shape(content["application/json"]["example"]) == shape(answer)
    if EXAMPLES[path].events is None:
        return
    stream = {**asked, "stream": True}
    with httpx.stream("POST", f"{gateway.url}{path}", json=stream) as events:
        streamed = events.read().decode()
    shown = content["text/event-stream"]["example"]
    assert [shape(event) for event in data(shown)] == [shape(event) for event in data(streamed)]


def test_the_example_of_an_error_is_the_servers_own(gateway: InstantGateway) -> None:
    document = httpx.get(f"{gateway.url}/openapi.json").json()
    told = document["paths"]["/v1/models"]["get"]["responses"]["4XX"]
    shown = ErrorBody.model_validate(told["content"]["application/json"]["example"])
    body = {"model": gateway.model, "prompt": "Hi", shown.error.param: 3}
    assert httpx.post(f"{gateway.url}/v1/completions", json=body).json() == shown.model_dump()
    for code in ("model_not_found (404)", "request_timeout (408)", "request_too_large (413)"):
        assert code in told["description"]


def data(stream: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in stream.split("\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


# The instant engine's answers all are.
OF_CUT_ANSWERS = {"completed_at", "incomplete_details"}


def shape(value: Any) -> Any:
    """The keys and types of a JSON value."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items() if key not in OF_CUT_ANSWERS}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value)
