"""A request's id, its turns in the queue and its log line; the application is scripted."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from slipway.gateway import log
from slipway.gateway.http.visit import Visit, Visits
from slipway.gateway.metrics import Requests
from slipway.gateway.queue import EngineQueue


async def visited(
    app: ASGIApp,
    given_id: str = "",
    path: str = "/v1/completions",
    over: Callable[[Visit, int], None] = lambda visit, status: None,
) -> dict[str, str]:
    """The headers of the answer."""
    answered: dict[str, str] = {}

    async def receive() -> Any: ...

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.update({name.decode(): value.decode() for name, value in message["headers"]})

    headers = [(b"x-request-id", given_id.encode("latin-1", "replace"))] if given_id else []
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await Visits(app, timeout_s=60, over=over)(scope, receive, send)
    return answered


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


@given(st.text(max_size=140))
async def test_no_client_id_breaks_a_header_or_a_log_line(given_id: str) -> None:
    told = (await visited(answers, given_id))["x-request-id"]
    assert told == given_id or told.isalnum()
    assert told.isascii()
    assert told.isprintable()
    assert " " not in told
    assert 0 < len(told) <= 128


async def test_anthropics_clients_get_the_id_in_their_own_header() -> None:
    told = await visited(answers, "mine", "/v1/messages")
    assert told == {"x-request-id": "mine", "request-id": "mine"}


async def test_a_request_that_fails_leaves_the_queue_and_is_logged_with_its_id(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = EngineQueue("model", slots=1, bound=9)

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        visit: Visit = scope["state"]["visit"]
        visit.model = "a\nb"
        visit.take_turns(line, 5, None, "n")
        assert line.waiting > 0
        logging.getLogger("slipway.gateway.elsewhere").error("It broke.")
        raise ZeroDivisionError

    caplog.set_level(logging.INFO, log.ACCESS)
    formatter = log.LineFormatter()
    lines = []
    monkeypatch.setattr(caplog.handler, "emit", lambda record: lines.append(formatter.format(record)))
    with pytest.raises(ZeroDivisionError):
        await visited(fails, "mine", "/v1/" + "x" * 1000)
    assert line.waiting == 0
    broke, access = lines
    assert "ERROR [mine] slipway.gateway.elsewhere: It broke." in broke
    assert "\n" not in access
    told = json.loads(access[access.index("{") :])
    assert (told["request_id"], told["status"], told["model"]) == ("mine", 500, "a\nb")
    assert len(told["path"]) == 200


async def test_requests_are_counted_by_model_and_status() -> None:
    registry = CollectorRegistry()
    line = EngineQueue("m", slots=2, bound=9)

    def ends(status: int, served: str | None, *tokens: int) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            visit: Visit = scope["state"]["visit"]
            visit.model, visit.served, visit.prompt_tokens = "whatever a client writes", served, 7
            for turn, count in zip(visit.take_turns(line, len(tokens), None, "n"), tokens, strict=True):
                turn.count(count)
                turn.count(count)
            await send({"type": "http.response.start", "status": status, "headers": []})

        return app

    count = Requests(registry).count
    for app in (ends(200, "m", 3, 0), ends(504, "m", 1), ends(400, "m"), ends(404, None)):
        await visited(app, over=count)

    def told(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"slipway_{name}", labels)

    assert [told("requests_total", model="m", status=status) for status in ("200", "504", "400")] == [1] * 3
    assert {sample.labels["model"] for family in registry.collect() for sample in family.samples} == {"m"}
    assert told("prompt_tokens_total", model="m") == 14
    assert told("request_seconds_count", model="m") == 2
    assert told("time_to_first_token_seconds_count", model="m") == 2
