"""The gateway as a process: its command line, its end, and an engine that dies under it."""

import json
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from openai import OpenAI
from support.command import run
from support.servers import free_port, gateway_server, running
from support.waiting import wait_until

ENDLESS = {
    "prompt": "1, 2, 3, 4,",
    "temperature": 0,
    "max_tokens": 8000,
    "extra_body": {"ignore_eos": True},
}


def gateway(*options: object) -> subprocess.CompletedProcess[str]:
    return run("slipway", "gateway", *options, timeout=60)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "--engine"),
        (["--engine", "engines/x", "--backend", "triton"], "--engine"),
        (["--threads", "2", "--backend", "triton"], "--threads"),
        (["--engine", "engines/x", "--triton-url", "127.0.0.1:8001"], "--triton-url"),
        (["--engine", "engines/x", "--engines", "engines"], "--engines"),
        (["--engine", "engines/x", "--keys", "keys.yaml", "--insecure"], "--insecure"),
        (["--engine", "engines/x", "--alias", "gpt-4o"], "--alias"),
        (["--engine", "engines/x", "--cors-origin", "http://localhost:3000/"], "--cors-origin"),
    ],
)
def test_options_that_contradict_each_other_are_refused_in_one_sentence(
    options: list[str], named: str
) -> None:
    result = gateway(*options)
    assert result.returncode == 2
    assert named in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_server_that_strangers_reach_asks_for_keys_or_says_that_it_does_not(tmp_path: Path) -> None:
    for options in (["--host", "0.0.0.0"], ["--host", "0.0.0.0", "--keys", str(tmp_path / "none.yaml")]):
        result = gateway("--engine", "engines/x", *options)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert "keys new NAME --file" in result.stderr


def test_a_taken_port_is_one_sentence(engine_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = gateway("--engine", str(engine_dir), "--port", str(port))
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert str(port) in result.stderr


def test_an_alias_of_nothing_and_an_engine_given_twice_are_one_sentence(engine_dir: Path) -> None:
    once = ["--engine", engine_dir, "--port", free_port()]
    for options in (["--alias", "gpt-4o=nothing"], ["--engine", engine_dir]):
        result = gateway(*once, *options)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert engine_dir.name in result.stderr


def test_several_engines_are_served_each_under_its_names(engine_dir: Path, int8_engine_dir: Path) -> None:
    first, second = engine_dir.name, int8_engine_dir.name
    aliases = ["--alias", f"gpt-4o={second}", "--alias", f"*={first}"]
    with gateway_server("--engine", engine_dir, "--engine", int8_engine_dir, *aliases) as server:
        for path in ("/health", "/ping"):
            assert httpx.get(f"{server.url}{path}").status_code == 200
        client = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        listed = [(model.id, model.root) for model in client.models.list()]
        assert listed == [(first, first), (second, second), ("gpt-4o", second)]
        asked = {"prompt": "The capital of France is", "max_tokens": 4, "temperature": 0, "logprobs": 0}
        answers = {
            name: client.completions.create(model=name, **asked) for name in (first, second, "gpt-4o", "any")
        }
    scores = {name: answer.choices[0].logprobs.token_logprobs for name, answer in answers.items()}
    assert scores["gpt-4o"] == scores[second] != scores[first] == scores["any"]
    assert (answers["gpt-4o"].model, answers["any"].model) == (second, first)


def test_a_folder_that_is_no_engine_is_one_sentence(tmp_path: Path) -> None:
    for options in (["--engine", str(tmp_path)], ["--backend", "triton", "--engines", str(tmp_path)]):
        result = gateway(*options, "--port", free_port())
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert str(tmp_path) in result.stderr


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja", "model.onnx.data"])
def test_a_damaged_file_of_the_engine_is_named(engine_dir: Path, tmp_path: Path, name: str) -> None:
    damaged = tmp_path / "engine"
    shutil.copytree(engine_dir, damaged)
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    result = gateway("--engine", str(damaged), "--port", str(free_port()))
    assert result.returncode == 1
    assert str(damaged / name) in result.stderr
    assert "build the engine again" in result.stderr
    assert "Traceback" not in result.stderr


def test_triton_serves_the_sound_engines_and_a_damaged_one_is_left_out(
    engine_dir: Path, tmp_path: Path
) -> None:
    sound, damaged = tmp_path / "sound", tmp_path / "damaged"
    for folder in (sound, damaged):
        folder.mkdir()
        for file in ("engine.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(engine_dir / file, folder)
    (damaged / "tokenizer.json").write_text("{}")
    triton = f"127.0.0.1:{free_port()}"
    options = ["--backend", "triton", "--engines", tmp_path, "--triton-url", triton]
    with gateway_server(*options, ready="/health/live") as server:
        url = server.url
        ready = httpx.get(f"{url}/health/ready")
        assert ready.status_code == 503
        assert triton in ready.json()["error"]["message"]
        assert httpx.get(f"{url}/v1/models").json() == {"object": "list", "data": []}
        asked = {"model": engine_dir.name, "prompt": "Hi", "stream": True}
        answer = httpx.post(f"{url}/v1/completions", json=asked)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "model_unavailable"


def test_settings_come_from_the_environment_too(engine_dir: Path) -> None:
    port = free_port()
    settings = {
        "SLIPWAY_ENGINE": str(engine_dir),
        "SLIPWAY_PORT": str(port),
        "SLIPWAY_MAX_BODY_BYTES": "100",
        "SLIPWAY_THREADS": "1",
    }
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "slipway", "gateway"]
    with running(command, f"{url}/health/ready", env=settings):
        body = json.dumps({"model": engine_dir.name, "prompt": "x" * 100})
        refused = httpx.post(f"{url}/v1/completions", content=body)
        assert refused.status_code == 415
        headers = {"content-type": "application/json"}
        assert httpx.post(f"{url}/v1/completions", content=body, headers=headers).status_code == 413


@dataclass(frozen=True)
class Local:
    process: subprocess.Popen[bytes]
    url: str
    client: openai.OpenAI
    model: str

    def engine_processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def local(engine_dir: Path) -> Iterator[Local]:
    with (
        gateway_server("--engine", engine_dir) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client,
    ):
        yield Local(server.process, server.url, client, engine_dir.name)


def test_sigterm_refuses_new_requests_and_lets_the_running_ones_end(local: Local) -> None:
    asked = {**ENDLESS, "model": local.model, "max_tokens": 40}
    streams = [local.client.completions.create(stream=True, **asked) for _ in range(16)]
    for stream in streams:
        next(iter(stream))
    unfinished = socket.create_connection(("127.0.0.1", int(local.url.rsplit(":", 1)[1])))
    unfinished.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
    engines = local.engine_processes()
    local.process.send_signal(signal.SIGTERM)
    wait_until(lambda: httpx.get(f"{local.url}/health/ready").status_code == 503)
    assert httpx.get(f"{local.url}/health/live").status_code == 200
    refused = httpx.post(f"{local.url}/v1/completions", json={"model": local.model, "prompt": "Hi"})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "server_stopping"
    assert int(refused.headers["retry-after"]) > 0
    for stream in streams:
        *_, last = stream
        assert last.choices[0].finish_reason == "length"
    assert local.process.wait(20) == 0, "the unfinished request would have had half a minute to arrive"
    assert unfinished.recv(100).startswith((b"HTTP/1.1 415", b"HTTP/1.1 503"))
    unfinished.close()
    assert not psutil.wait_procs(engines, timeout=60)[1]


def test_a_second_signal_ends_the_running_answers_at_once(local: Local) -> None:
    stream = local.client.completions.create(model=local.model, stream=True, **ENDLESS)
    next(iter(stream))
    engines = local.engine_processes()
    local.process.send_signal(signal.SIGINT)
    wait_until(lambda: httpx.get(f"{local.url}/health/ready").status_code == 503)
    next(iter(stream))
    asked = time.monotonic()
    local.process.send_signal(signal.SIGINT)
    with pytest.raises(openai.APIError, match="stopping"):
        for _ in stream:
            pass
    assert local.process.wait(20) == 0
    assert time.monotonic() - asked < 10
    assert not psutil.wait_procs(engines, timeout=60)[1]


def test_a_long_prompt_does_not_hold_up_the_streams_of_others(local: Local) -> None:
    stream = iter(local.client.completions.create(model=local.model, stream=True, **ENDLESS))
    next(stream)
    # As many characters as are tokenized before a prompt counts as far too long.
    body = {"model": local.model, "prompt": "안녕 " * 80_000}
    with socket.create_connection(("127.0.0.1", int(local.url.rsplit(":", 1)[1]))) as other:
        content = json.dumps(body, ensure_ascii=False).encode()
        head = "POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        other.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        gaps = []
        asked = time.monotonic()
        while not select.select([other], [], [], 0)[0]:
            before = time.monotonic()
            next(stream)
            gaps.append(time.monotonic() - before)
        took = time.monotonic() - asked
        assert b" 200 " in other.recv(100)
    assert max(gaps) < took / 2, "as long as the prompt takes, where it holds them up"
    stream.close()


def test_a_log_on_a_full_disk_stops_no_server(engine_dir: Path) -> None:
    backend = ("--backend", "triton", "--triton-url", "127.0.0.1:1", "--engines", engine_dir.parent)
    full = Path("/dev/full")
    with gateway_server(*backend, "--access-log", ready="/health/live", log=full) as server:
        for _ in range(2):
            asked = {"model": engine_dir.name, "messages": [{"role": "user", "content": "Hi"}]}
            assert httpx.post(f"{server.url}/tokenize", json=asked).status_code == 200
