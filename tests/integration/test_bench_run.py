"""`python -m bench run` as a user runs it: against the real gateway, and against servers that misbehave."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from support.scripted_server import DONE, content, finish, scripted, thought, usage
from support.servers import free_port, running


@pytest.fixture(scope="module")
def gateway_url(engine_dir: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    gateway = [sys.executable, "-m", "slipway", "gateway", "--engine", str(engine_dir), "--port", str(port)]
    with running(gateway, f"{url}/health/ready"):
        yield url


def bench(
    *options: str, url: str, timeout: float = 90, command: str = "run"
) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "bench", command, "--url", url, *options]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


def row(output: str, name: str) -> list[str]:
    [line] = [line for line in output.splitlines() if line.strip().startswith(f"{name} ")]
    return line.strip().removeprefix(name).split()


def answered(body: dict[str, Any], tokens: int, pace: float = 0.01) -> Iterator[str]:
    for _ in range(tokens):
        time.sleep(pace)
        yield content("word ")
    yield finish()
    yield usage(len(body["messages"][0]["content"].split()) + 9, tokens)
    yield DONE


def obedient(body: dict[str, Any]) -> tuple[int, Iterator[str]]:
    if not body.get("stream"):
        prompt = body["messages"][0]["content"]
        return 200, iter([json.dumps({"usage": {"prompt_tokens": len(prompt.split()) + 9}})])
    return 200, answered(body, body["max_tokens"])


def slow(body: dict[str, Any]) -> tuple[int, Iterator[str]]:
    return (200, answered(body, body["max_tokens"], pace=0.04)) if body.get("stream") else obedient(body)


def test_a_soak_compares_the_end_with_the_beginning(gateway_url: str, tmp_path: Path) -> None:
    result = tmp_path / "soak.json"
    options = ("--minutes", "0.05", "--users", "2", "--prompt-tokens", "48", "--max-tokens", "4")
    done = bench(*options, "--json", str(result), url=gateway_url, command="soak")
    assert result.exists(), done.stderr
    figures = json.loads(result.read_text())
    assert done.returncode == (1 if figures["broken"] else 0), done.stderr
    assert not any("failed" in each for each in figures["broken"])
    assert figures["users"] == 2
    assert figures["first"]["memory"] > 100e6
    assert figures["first"]["handles"] > 10
    assert (
        row(done.stdout, "memory, MB")[2] == f"{figures['last']['memory'] / figures['first']['memory']:.3f}"
    )


def test_a_run_against_the_gateway_measures_what_it_says(gateway_url: str, engine_dir: Path, tmp_path: Path):
    result = tmp_path / "result.json"
    options = ("--users", "3", "--duration", "2", "--prompt-tokens", "64", "--max-tokens", "16")
    done = bench(*options, "--json", str(result), url=gateway_url)
    assert done.returncode == 0, done.stderr
    assert row(done.stdout, "failures") == ["0"]
    assert float(row(done.stdout, "prompt tokens, mean")[0]) == pytest.approx(64, abs=3)
    assert row(done.stdout, "output tokens, mean") == ["16.0"]

    written = json.loads(result.read_text())
    assert written["settings"]["model"] == engine_dir.name
    assert written["environment"]["cores"] > 0
    counted = [sample for sample in written["samples"] if sample["started_s"] + sample["e2e_s"] >= 0]
    assert written["summary"]["requests"] == len(counted) > 0
    assert {sample["output_tokens"] for sample in counted} == {16}
    ttft = sorted(sample["chunks_s"][0] for sample in counted)
    assert ttft[0] <= written["summary"]["ttft_s"]["p50"] <= ttft[-1]
    assert all(sample["chunks_s"][-1] <= sample["e2e_s"] for sample in counted)


def test_times_and_rates_are_those_of_the_server():
    with scripted(slow) as (url, received):
        done = bench("--users", "2", "--duration", "2", "--max-tokens", "20", url=url)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "nothing but the table where stderr is no terminal"
    mean, *_ = row(done.stdout, "TPOT")
    assert 40 <= float(mean) <= 80, "one token every 40 ms, and what a busy machine adds"
    per_second = float(row(done.stdout, "output tokens/s")[0])
    assert 20 <= per_second <= 50, "two users, at most 25 tokens/s each"
    asked = [body for body in received if body.get("stream")]
    assert all(body["ignore_eos"] and body["max_tokens"] == 20 for body in asked)
    assert len({body["messages"][0]["content"] for body in asked}) == len(asked), "no two prompts are alike"


def test_a_server_that_ignores_ignore_eos_is_found_out():
    with scripted(lambda body: (200, answered(body, 3))) as (url, _):
        prompts = ROOT / "requirements" / "modelopt.txt"
        done = bench("--duration", "0.4", "--max-tokens", "20", "--prompts", str(prompts), url=url)
        assert done.returncode == 1
        assert "failed: the server ignored ignore_eos" in done.stdout
        natural = bench("--duration", "0.4", "--no-ignore-eos", "--prompts", str(prompts), url=url)
    assert natural.returncode == 0
    assert row(natural.stdout, "output tokens, mean") == ["3.0"]


def test_a_model_that_only_thinks_within_max_tokens_is_measured():
    def thinking(body: dict[str, Any]) -> tuple[int, Iterator[str]]:
        return 200, iter([*[thought("hm ")] * 8, finish(), usage(9, 8), DONE])

    with scripted(thinking) as (url, _):
        options = ("--duration", "0.4", "--max-tokens", "8", "--prompts", "requirements/modelopt.txt")
        done = bench(*options, url=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert row(done.stdout, "failures") == ["0"]
    assert row(done.stdout, "output tokens, mean") == ["8.0"]
    assert float(row(done.stdout, "TTFT")[0]) > 0
    assert row(done.stdout, "TTFO") == ["-"] * 4
    assert "answers hold nothing but thoughts, and have no TTFO: raise --max-tokens" in done.stdout


def test_failed_requests_are_counted_by_reason_and_not_hammered():
    full = json.dumps({"error": {"message": "The queue is full."}})
    with scripted(lambda _: (429, iter([full]))) as (url, received):
        done = bench("--users", "2", "--duration", "1.5", "--prompts", "requirements/modelopt.txt", url=url)
    assert done.returncode == 1
    assert "failed: HTTP 429: The queue is full." in done.stdout
    assert 0 < len(received) <= 8


def test_a_stream_that_breaks_off_is_a_failure():
    with scripted(lambda _: (200, iter([content("a"), content("b")]))) as (url, _):
        done = bench("--duration", "0.4", "--prompts", "requirements/modelopt.txt", url=url)
    assert "failed: the stream ended without [DONE]" in done.stdout


def test_ctrl_c_prints_what_was_measured(tmp_path: Path):
    result = tmp_path / "result.json"
    with scripted(obedient) as (url, received):
        command = [sys.executable, "-m", "bench", "run", "--url", url, "--duration", "600"]
        command += ["--max-tokens", "10", "--json", str(result)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            deadline = time.monotonic() + 30
            while len(received) < 20 and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, stderr
    assert "Interrupted" in stdout
    assert int(row(stdout, "requests")[0]) > 0
    assert stderr == ""
    assert json.loads(result.read_text())["interrupted"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "No server answers at {url} (connection: Connection refused): start one with `make serve`"),
        (("--json", "nowhere/result.json"), "the folder nowhere does not exist"),
        (
            ("--prompt-tokens", "9", "--prompts", "README.md"),
            "--prompt-tokens and --prompts exclude each other: give one of them.",
        ),
    ],
)
def test_what_cannot_run_is_said_in_one_sentence(options: tuple[str, ...], sentence: str):
    url = f"http://127.0.0.1:{free_port()}"
    done = bench(*options, url=url)
    assert done.returncode != 0
    [line] = done.stderr.splitlines()
    assert sentence.format(url=url) in line
