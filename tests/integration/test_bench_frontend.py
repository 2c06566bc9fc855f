"""`python -m bench frontend` as a user runs it: it starts and ends every process by itself."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
from support.paths import ROOT


def bench(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", "frontend", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_a_gateway_is_measured_against_itself_and_no_process_stays(engine_dir: Path, tmp_path: Path):
    result = tmp_path / "result.json"
    done = bench(engine_dir, "--rounds", 1, "--messages", 1, "--against", ROOT, "--json", result)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", "nothing but the table where nobody watches"
    for words in ("this", "other", "direct", ": other", "CPU µs per event", "added"):
        assert words in done.stdout

    written = json.loads(result.read_text())
    assert list(written["figures"]) == ["this", "other", "direct"]
    tokens = {load["name"]: load["clients"] * load["each"] for load in written["loads"]}
    for load in written["loads"]:
        tokens[load["name"]] *= 1 + load["messages"] * load["tokens_per_message"]
    for sample in written["samples"]:
        assert sample["tokens"] == tokens[sample["load"]], "every answer has every token"
        assert (sample["cpu_s"] > 0) == (sample["way"] != "direct")
        assert 0 < sample["ttft_s"] <= sample["seconds"]
    assert len(written["samples"]) == 3 * len(tokens)
    left = [process for process in psutil.process_iter(["cmdline"]) if _is_of_the_bench(process)]
    assert not psutil.wait_procs(left, timeout=20)[1]


def _is_of_the_bench(process: psutil.Process) -> bool:
    command = process.info["cmdline"] or []
    return bool({"bench.instant_triton", "bench.streaming_clients"} & set(command))
