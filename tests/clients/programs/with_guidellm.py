"""GuideLLM, a load generator, with synthetic prompts."""

import json
import os
import subprocess
from pathlib import Path

import pytest


def report(folder: Path, request_format: str) -> dict[str, object]:
    backend = f"kind=openai_http,target={os.environ['BASE_URL']},model={os.environ['MODEL']}"
    options = {
        "--backend": f"{backend},request_format={request_format}",
        "--profile": "kind=concurrent,streams=2",
        "--constraint": "kind=max_requests,count=6",
        "--tokenizer": f"kind=huggingface_auto,model={os.environ['CHECKPOINT']}",
        "--data": "kind=synthetic_text,prompt_tokens=64,output_tokens=16",
        "--output": f"kind=json,path={folder / 'report.json'}",
    }
    command = ["guidellm", "run", "--disable-console", *(word for pair in options.items() for word in pair)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, (done.stderr + done.stdout).strip().splitlines()[-1]
    [benchmark] = json.loads((folder / "report.json").read_text())["benchmarks"]
    return benchmark


@pytest.mark.parametrize("request_format", ["/v1/chat/completions", "/v1/completions"])
def test_load(tmp_path: Path, request_format: str) -> None:
    made = report(tmp_path, request_format)
    totals = made["metrics"]["request_totals"]
    assert (totals["successful"], totals["errored"]) == (6, 0)
