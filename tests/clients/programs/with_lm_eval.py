"""EleutherAI's lm-evaluation-harness, with tasks on data of this file: no hub is asked."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

QUESTIONS = [
    {"question": "The capital of France is", "choices": [" Paris", " Rome"], "answer": 0},
    {"question": "Two and two make", "choices": [" nine", " four"], "answer": 1},
]
DATA = {"dataset_path": "json", "test_split": "test", "doc_to_text": "{{question}}"}
CHOICE = {
    "task": "choice",
    "output_type": "multiple_choice",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
}
GENERATE = {
    "task": "generated",
    "output_type": "generate_until",
    "doc_to_target": "{{choices[answer]}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 16},
    "metric_list": [{"metric": "exact_match"}],
}
ROLLING = {
    "task": "rolling",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{question}}",
    "metric_list": [{"metric": "word_perplexity"}],
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, QUESTIONS)))
    for task in (CHOICE, GENERATE, ROLLING):
        files = {"dataset_kwargs": {"data_files": {"test": str(data)}}}
        (tmp_path / f"{task['task']}.yaml").write_text(json.dumps(DATA | files | task))
    return tmp_path


def evaluated(tasks: Path, task: str, model: str, path: str, *options: str, **arguments: object) -> Any:
    given = {
        "model": os.environ["MODEL"],
        "base_url": f"{os.environ['OPENAI_BASE_URL']}/{path}",
        "tokenizer": os.environ["CHECKPOINT"],
        "num_concurrent": 2,
        **arguments,
    }
    listed = ",".join(f"{name}={value}" for name, value in given.items())
    command = ["lm_eval", "--model", model, "--model_args", listed, "--tasks", task]
    command += ["--include_path", str(tasks), "--output_path", str(tasks / "results"), *options]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tasks / "cache")}
    env = {**os.environ, **offline}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
    [written] = (tasks / "results").rglob("results_*.json")
    return json.loads(written.read_text())["results"][task]


def test_multiple_choice_by_log_likelihood(tasks: Path) -> None:
    assert evaluated(tasks, "choice", "local-completions", "completions")["acc,none"] == 1


def test_perplexity_by_rolling_log_likelihood(tasks: Path) -> None:
    assert evaluated(tasks, "rolling", "local-completions", "completions")["word_perplexity,none"] > 1


def test_generation_by_completions(tasks: Path) -> None:
    assert "exact_match,none" in evaluated(tasks, "generated", "local-completions", "completions")


def test_generation_by_chats(tasks: Path) -> None:
    options = ("local-chat-completions", "chat/completions", "--apply_chat_template")
    assert "exact_match,none" in evaluated(tasks, "generated", *options)
