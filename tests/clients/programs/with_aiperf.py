"""NVIDIA's AIPerf, a load generator, with synthetic prompts."""

import json
import os
import subprocess
from pathlib import Path

import pytest


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_load(tmp_path: Path, endpoint: str) -> None:
    options = {
        "--model": os.environ["MODEL"],
        "--url": os.environ["BASE_URL"],
        "--endpoint-type": endpoint,
        "--tokenizer": os.environ["CHECKPOINT"],
        "--isl": "64",
        "--osl": "16",
        "--extra-inputs": "ignore_eos:true",
        "--request-count": "6",
        "--concurrency": "2",
        "--ui": "none",
        "--artifact-dir": str(tmp_path),
    }
    command = ["aiperf", "profile", "--streaming", *(word for pair in options.items() for word in pair)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, (done.stderr + done.stdout).strip().splitlines()[-1]
    [written] = tmp_path.rglob("profile_export_aiperf.json")
    summary = json.loads(written.read_text())
    assert summary["request_count"]["avg"] == 6
    assert summary["time_to_first_token"]["avg"] > 0
