"""A request's id, its turns in the queue and its log line; the application is scripted."""

import asyncio
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
from slipway.gateway.fair_threads import FairThreads
from slipway.gateway.http.context import RequestContext, RequestContextMiddleware
from slipway.gateway.metrics import RequestMetrics
from slipway.gateway.queue import EngineQueue


async def run_request(
    app: ASGIApp,
    given_id: str = "",
    path: str = "/v1/completions",
    on_end: Callable[[RequestContext, int], None] = lambda context, status: None,
    address: str = "127.0.0.1",
) -> dict[str, str]:
    """Return the headers of the response."""
    answered: dict[str, str] = {}

    async def receive() -> Any: ...

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answered.update({name.decode(): value.decode() for name, value in message["headers"]})

    headers = [(b"x-request-id", given_id.encode("latin-1", "replace"))] if given_id else []
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "client": (address, 1)}
    threads = FairThreads(1, 1, "bodies")
    middleware = RequestContextMiddleware(app, 60, on_end, threads, asyncio.Event())
    await middleware(scope, receive, send)
    threads.close()
    return answered


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


@given(st.text(max_size=140))
async def test_no_client_id_breaks_a_header_or_a_log_line(given_id: str) -> None:
    request_id = (await run_request(answers, given_id))["x-request-id"]
    assert request_id == given_id or request_id.isalnum()
    assert request_id.isascii()
    assert request_id.isprintable()
    assert " " not in request_id
    assert 0 < len(request_id) <= 128


async def test_anthropics_clients_get_the_id_in_their_own_header() -> None:
    headers = await run_request(answers, "mine", "/v1/messages")
    assert headers == {"x-request-id": "mine", "request-id": "mine"}


async def test_a_request_that_fails_leaves_the_queue_and_is_logged_with_its_id(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = EngineQueue("model", slots=1, bound=9)

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        context: RequestContext = scope["state"]["context"]
        context.model = "a\nb"
        context.take_turns(line, 5, None, "n")
        assert line.waiting > 0
        logging.getLogger("slipway.gateway.elsewhere").error("It broke.")
        raise ZeroDivisionError

    caplog.set_level(logging.INFO, log.ACCESS)
    formatter = log.LineFormatter()
    lines = []
    monkeypatch.setattr(caplog.handler, "emit", lambda record: lines.append(formatter.format(record)))
    with pytest.raises(ZeroDivisionError):
        await run_request(fails, "mine", "/v1/" + "x" * 1000)
    assert line.waiting == 0
    broke, access = lines
    assert "ERROR [mine] slipway.gateway.elsewhere: It broke." in broke
    assert "\n" not in access
    line = json.loads(access[access.index("{") :])
    assert (line["request_id"], line["status"], line["model"]) == ("mine", 500, "a\nb")
    assert len(line["path"]) == 200


async def test_fields_without_an_effect_are_named_in_a_header_and_in_the_access_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def ignores(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["context"].ignored += ["include", "reasoning.effort"]
        await answers(scope, receive, send)

    caplog.set_level(logging.INFO, log.ACCESS)
    logging.getLogger(log.ACCESS).propagate = True
    assert (await run_request(ignores))["x-slipway-ignored"] == "include, reasoning.effort"
    assert json.loads(caplog.messages[-1])["ignored"] == ["include", "reasoning.effort"]
    assert "x-slipway-ignored" not in await run_request(answers)
    assert "ignored" not in json.loads(caplog.messages[-1])


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("a-unix-socket", "a-unix-socket"),
    ],
)
async def test_a_client_is_an_address_or_a_network_of_one_and_with_a_key_its_owner(
    address: str, client: str
) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        context: RequestContext = scope["state"]["context"]
        seen.append(context.client)
        context.key = "ada"
        seen.append(context.client)

    await run_request(app, address=address)
    assert seen == [client, "key ada"]


async def test_requests_are_counted_by_model_and_status() -> None:
    registry = CollectorRegistry()
    line = EngineQueue("m", slots=2, bound=9)

    def ends(status: int, served: str | None, *tokens: int) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            context: RequestContext = scope["state"]["context"]
            context.model, context.served, context.prompt_tokens = "whatever a client writes", served, 7
            for turn, count in zip(context.take_turns(line, len(tokens), None, "n"), tokens, strict=True):
                turn.count(count)
                turn.show(count, answers=False)
                turn.count(count)
                turn.show(0, answers=count > 1)
            await send({"type": "http.response.start", "status": status, "headers": []})

        return app

    count = RequestMetrics(registry).count
    for app in (ends(200, "m", 3, 0), ends(504, "m", 1), ends(400, "m"), ends(404, None)):
        await run_request(app, on_end=count)

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"slipway_{name}", labels)

    assert [sample("requests_total", model="m", status=status) for status in ("200", "504", "400")] == [1] * 3
    assert {sample.labels["model"] for family in registry.collect() for sample in family.samples} == {"m"}
    assert sample("prompt_tokens_total", model="m") == 14
    assert sample("request_seconds_count", model="m") == 2
    assert sample("time_to_first_token_seconds_count", model="m") == 2
    assert sample("reasoning_tokens_total", model="m") == 4
    assert sample("reasoning_seconds_count", model="m") == 2
    assert sample("time_to_answer_seconds_count", model="m") == 1, "one answer ended while it thought"
