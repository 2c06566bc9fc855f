"""`python -m bench http` as a user runs it: it starts and ends every server by itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
from support.paths import ROOT

# What a shell may have for a server and a network of its own, and what is not measured.
SHELL = {
    "SLIPWAY_KEYS": "nowhere.yaml",
    "SLIPWAY_WORKERS": "2",
    "SLIPWAY_ENGINES": "nowhere",
    "SLIPWAY_MAX_BODY_BYTES": "1",
    "http_proxy": "http://127.0.0.1:9",
}


def bench(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", "http", *map(str, options)]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | SHELL, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_three_ways_answer_the_same_prompts_and_no_server_stays(engine_dir: Path, tmp_path: Path):
    result = tmp_path / "result.json"
    short = ("--clients", 3, "--rounds", 2, "--prompt-tokens", 16, "--max-tokens", 8)
    done = bench(engine_dir, *short, "--json", result)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", "nothing but the table where nobody watches"
    for words in ("in process", "local backend", "Triton", "outside onnxruntime", "clients"):
        assert words in done.stdout

    written = json.loads(result.read_text())
    figures = written["figures"]
    assert list(figures) == ["in process", "local backend", "Triton"]
    assert all(way["tokens_per_s"]["median"] > 0 for way in figures.values())
    assert figures["in process"]["ratio_to_in_process"]["median"] == 1
    assert 0 < written["outside_onnxruntime"]["median"] < 1
    assert {"clients", "gateway", "engine"} <= figures["local backend"]["cpu_ms_per_token"].keys()
    assert {"tritonserver", "Triton's stages"} <= figures["Triton"]["cpu_ms_per_token"].keys()
    assert len(written["samples"]) == 2 * 3
    left = [process for process in psutil.process_iter(["cmdline"]) if _is_a_server(process, engine_dir)]
    assert not psutil.wait_procs(left, timeout=20)[1]


def _is_a_server(process: psutil.Process, engine: Path) -> bool:
    """Whether the bench started it: the repository that it lays out is its own."""
    command = " ".join(process.info["cmdline"] or [])
    return str(ROOT / ".cache" / "bench" / engine.name) in command
