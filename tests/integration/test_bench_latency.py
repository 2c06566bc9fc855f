"""`python -m bench latency` as a user runs it, on the real engine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT


def bench(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_latency_reads_a_known_prefix_once_and_prompts_beside_streams(engine_dir: Path, tmp_path: Path):
    result = tmp_path / "result.json"
    short = ("--prefix-tokens", 160, "--stream-tokens", 128, "--prompt-tokens", 100)
    done = bench("latency", engine_dir, "--rounds", 1, *short, "--streams", 2, "--json", result)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "TTFT seen : cold" in done.stdout
    assert "2 streams, p99 : median undisturbed" in done.stdout

    written = json.loads(result.read_text())
    assert len(written["prefixes"]) == len(written["gaps"]) == 1
    assert all(each["cold_s"] > min(each["seen_s"]) for each in written["prefixes"])
    for each in written["gaps"]:
        assert each["undisturbed_s"]
        assert each["beside_prompts_s"]
        assert each["ttft_s"]


@pytest.mark.parametrize("command", ["runtime", "latency"])
def test_an_engine_that_is_not_there_is_named(command: str):
    done = bench(command, "engines/nothing")
    assert done.returncode == 2
    assert "engines/nothing/tokenizer.json is missing" in done.stderr
