"""A gateway with API keys, as OpenAI's and Anthropic's clients and a browser use it."""

import json
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import anthropic
import httpx
import openai
import pytest
from openai import OpenAI
from support.command import run
from support.paths import ROOT
from support.servers import gateway_server
from support.waiting import wait_until

KEYS = ("slipway", "keys")
PAGE = "http://localhost:3000"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@dataclass(frozen=True)
class GatewayWithKeys:
    url: str
    model: str
    file: Path
    log: Path

    def new(self, name: str, *options: str) -> str:
        return run(*KEYS, "new", name, "--file", self.file, *options, status=0).stdout.strip()

    def wait_for_line(self, line: dict[str, object]) -> None:
        """Wait for a line of the access log, which is written when the answer is over."""

        def written() -> bool:
            lines = [json.loads(text) for text in self.log.read_text().splitlines() if text.startswith("{")]
            return any(line.items() <= each.items() for each in lines)

        wait_until(written)

    def client(self, key: str) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def guarded(engine_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWithKeys]:
    directory = tmp_path_factory.mktemp("keys")
    file, log = directory / "keys.yaml", directory / "log"
    file.write_text("")
    options = ["--engine", engine_dir, "--keys", file, "--access-log", "--cors-origin", PAGE]
    with gateway_server(*options, log=log) as server:
        yield GatewayWithKeys(server.url, engine_dir.name, file, log)


@pytest.fixture(scope="module")
def key(guarded: GatewayWithKeys) -> str:
    made = guarded.new("everything")
    time.sleep(1.1)
    return made


def test_without_a_valid_key_only_health_and_documentation_answer(guarded: GatewayWithKeys, key: str) -> None:
    for path in (
        "/ping",
        "/health",
        "/health/live",
        "/health/ready",
        "/docs",
        "/docs/swagger-ui.css",
        "/openapi.json",
    ):
        assert httpx.get(f"{guarded.url}{path}").status_code == 200
    document = httpx.get(f"{guarded.url}/openapi.json").json()
    assert document["security"], "the page at /docs has a field for the key"
    assert document["paths"]["/health/ready"]["get"]["security"] == []
    for path in ("/v1/models", "/metrics", "/version", "/nothing"):
        refused = httpx.get(f"{guarded.url}{path}")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["x-request-id"]
    with pytest.raises(openai.AuthenticationError) as caught:
        guarded.client(key[:-1]).models.list()
    assert caught.value.code == "invalid_api_key"
    assert key[:-1] not in str(caught.value)
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
        assert httpx.get(f"{guarded.url}/metrics", headers=headers).status_code == 200


def test_the_version_is_that_of_the_package(guarded: GatewayWithKeys, key: str) -> None:
    answer = httpx.get(f"{guarded.url}/version", headers={"x-api-key": key}).json()
    assert answer["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert answer["packages"]["tokenizers"] == metadata.version("tokenizers")


def test_anthropics_client_sends_its_key_in_a_header_of_its_own(guarded: GatewayWithKeys, key: str) -> None:
    def ask(given: str) -> str:
        with anthropic.Anthropic(base_url=guarded.url, api_key=given, max_retries=0) as client:
            return client.messages.create(
                model=guarded.model, max_tokens=3, messages=QUESTION
            ).model  # fmt: skip

    assert ask(key) == guarded.model
    with pytest.raises(anthropic.AuthenticationError) as caught:
        ask("wrong")
    assert caught.value.body["error"]["type"] == "authentication_error"


def test_a_key_made_while_the_gateway_runs_has_its_models_and_limits(
    guarded: GatewayWithKeys, key: str
) -> None:
    elsewhere = guarded.client(guarded.new("elsewhere", "--model", "another"))
    twice = guarded.client(guarded.new("twice", "--requests-per-minute", "2"))
    short = guarded.client(guarded.new("short", "--tokens-per-minute", "10"))
    time.sleep(1.1)
    assert not elsewhere.models.list().data
    with pytest.raises(openai.PermissionDeniedError) as forbidden:
        elsewhere.completions.create(model=guarded.model, prompt="a")
    assert forbidden.value.code == "model_not_found"
    asked = {"model": guarded.model, "prompt": "The capital of France is", "max_tokens": 20}
    asked["extra_body"] = {"ignore_eos": True}  # an early end would leave tokens to use
    first = twice.completions.with_raw_response.create(**asked)
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    twice.completions.create(**asked)
    list(short.completions.create(stream=True, **asked))
    for spent, patience in ((twice, 30), (short, 120)):
        with pytest.raises(openai.RateLimitError) as limited:
            spent.completions.create(**asked)
        assert limited.value.code == "rate_limit_exceeded"
        assert 0 < int(limited.value.response.headers["retry-after"]) <= patience


def test_a_response_is_stored_for_its_own_key_only(guarded: GatewayWithKeys, key: str) -> None:
    stranger = guarded.client(guarded.new("stranger"))
    time.sleep(1.1)
    asked = {"model": guarded.model, "input": "Hi", "max_output_tokens": 3}
    mine = guarded.client(key).responses.create(**asked)
    for look in (
        lambda: stranger.responses.retrieve(mine.id),
        lambda: stranger.responses.delete(mine.id),
        lambda: stranger.responses.create(previous_response_id=mine.id, **asked),
    ):
        with pytest.raises(openai.NotFoundError):
            look()
    assert guarded.client(key).responses.retrieve(mine.id).id == mine.id


def test_a_revoked_key_stops_working_without_a_restart_and_no_key_is_logged(
    guarded: GatewayWithKeys, key: str
) -> None:
    brief = guarded.new("brief")
    time.sleep(1.1)
    assert guarded.client(brief).models.list().data
    assert "brief" in run(*KEYS, "list", "--file", guarded.file, status=0).stdout.split()
    run(*KEYS, "revoke", "brief", "--file", guarded.file, status=0)
    time.sleep(1.1)
    with pytest.raises(openai.AuthenticationError):
        guarded.client(brief).models.list()
    for line in (
        {"path": "/v1/models", "status": 200, "key": "brief"},
        {"path": "/v1/models", "status": 401, "key": None},
    ):
        guarded.wait_for_line(line)
    log = guarded.log.read_text()
    assert not any(secret in log for secret in (brief, key, brief[11:20], key[11:20]))


def test_client_and_load_test_send_a_key_and_never_show_it(
    guarded: GatewayWithKeys, key: str, tmp_path: Path
) -> None:
    result, questions = tmp_path / "result.json", tmp_path / "questions"
    questions.write_text("Hi\n")
    ask = ["client", "Hi", "--max-tokens", "2"]
    load = ["bench", "run", "--users", "1", "--duration", "0.2", "--max-tokens", "2", "--no-ignore-eos"]
    load += ["--prompts", str(questions), "--json", str(result)]
    shown = ""
    for command, variable in ((ask, "SLIPWAY_API_KEY"), (load, "OPENAI_API_KEY")):
        refused = run(*command, "--url", guarded.url, status=1)
        assert variable in refused.stderr
        assert "--api-key" in refused.stderr
        given = run(*command, "--url", guarded.url, env={variable: key}, status=0)
        shown += given.stdout + given.stderr
    assert key not in shown + result.read_text()


def test_only_pages_of_the_allowed_origin_can_read_answers(guarded: GatewayWithKeys) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    url = f"{guarded.url}/v1/chat/completions"
    allowed = httpx.options(url, headers={"origin": PAGE, **asks})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert httpx.post(url, headers={"origin": PAGE}).headers["access-control-allow-origin"] == PAGE
    forgets = {"access-control-request-method": "DELETE", "access-control-request-headers": "authorization"}
    kept = f"{guarded.url}/v1/responses/resp_1"
    assert httpx.options(kept, headers={"origin": PAGE, **forgets}).status_code == 200
    for origin in ("http://localhost:3001", "null"):
        headers = httpx.post(url, headers={"origin": origin}).headers
        assert "access-control-allow-origin" not in headers
