"""`python -m bench runtime` as a user runs it, and what happens to engines that misbehave."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.paths import ROOT

from bench.comparison import Workload, compare, steps
from bench.measured_engine import EngineSpec
from bench.quality import QualityText
from slipway.text.perplexity import WINDOW

SHORT = ("--prompt-tokens", "32", "--max-tokens", "8", "--concurrency", "1", "--concurrency", "3")
NO_SPEED = ("--prompt-tokens", "8", "--max-tokens", "2", "--concurrency", "1", "--rounds", "1")
QUICK_PEERS = ("--peers", *(f"--without={peer}" for peer in ("transformers", "OpenVINO GenAI", "llama.cpp")))
WORKLOADS = [Workload(1, 4, 8), Workload(2, 4, 8)]


def bench(*options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", "runtime", *map(str, options)]
    env = os.environ | environment
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def scripted(name: str, body: str) -> EngineSpec:
    """An engine whose process runs `body` for every line, after saying that it is ready."""
    script = (
        "import json, sys\n"
        "print(json.dumps({'ready': 'scripted'}), flush=True)\n"
        "for number, line in enumerate(sys.stdin):\n"
        "    batch = json.loads(line)\n"
        "    tokens = [batch['max_tokens']] * len(batch['prompts'])\n"
        f"    {body}\n"
        "    print(json.dumps({'tokens': tokens, 'seconds': 0.5}), flush=True)\n"
    )
    return EngineSpec(name, (sys.executable, "-c", script), ours=False)


def scoring(name: str, body: str) -> EngineSpec:
    """An engine that runs `body` for the windows of a text, and batches as `scripted`."""
    script = (
        "import json, sys\n"
        "print(json.dumps({'ready': 'scripted'}), flush=True)\n"
        "for line in sys.stdin:\n"
        "    batch = json.loads(line)\n"
        f"    if {body}: continue\n"
        "    tokens = [batch['max_tokens']] * len(batch['prompts'])\n"
        "    print(json.dumps({'tokens': tokens, 'seconds': 0.5}), flush=True)\n"
    )
    return EngineSpec(name, (sys.executable, "-c", script), ours=False)


@pytest.fixture(scope="module")
def beside_a_peer(
    int8_engine_dir: Path, checkpoint_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    """What a run printed, and its JSON."""
    place = tmp_path_factory.mktemp("peer")
    result, text = place / "result.json", place / "text"
    text.write_text((ROOT / "tests" / "support" / "prose.txt").read_text()[:1850])
    reading = ("--checkpoint", checkpoint_dir, "--text", text)
    done = bench(int8_engine_dir, *QUICK_PEERS, *SHORT, *reading, "--rounds", 2, "--json", result)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "nothing but the table where stderr is no terminal"
    return done.stdout, json.loads(result.read_text())


def test_our_engine_and_a_peer_run_the_same_work(beside_a_peer: tuple[str, dict[str, Any]]):
    said, written = beside_a_peer
    ours, peer = written["figures"]
    assert "transformers is left out" in said
    assert f"{ours['name']} : best peer" in said
    assert (ours["name"], ours["ours"]) == ("slipway smollm2-135m-int8", True)
    assert peer["version"].startswith("onnxruntime-genai ")
    assert [point["requests"] for point in ours["workloads"]] == [1, 3, 1]
    for mine, theirs in zip(ours["workloads"], peer["workloads"], strict=True):
        assert mine["best_peer"] == peer["name"]
        assert mine["tokens_per_s"]["median"] > 0
        assert theirs["ratio"]["median"] == 1
    assert len(written["samples"]) == 2 * 2 * 3, "two rounds, two engines, three workloads"
    assert not written["failures"]
    assert written["environment"]["cores"] > 0


def test_quality_on_the_same_text_stands_beside_speed(beside_a_peer: tuple[str, dict[str, Any]]):
    said, written = beside_a_peer
    ours, peer = written["figures"]
    assert written["text_tokens"] > WINDOW, "more than one window"
    # It runs the same graph on the same weights, read by other code.
    assert ours["loss"] == pytest.approx(peer["loss"], abs=0.01)
    # So short a text gives no exact figure: 1 % is what int8 may lose of a long one.
    assert -0.02 < ours["loss"] < 0.04
    assert ours["counts"] == (ours["loss"] <= 0.01)
    assert f"{1 + ours['loss']:.4f}" in said


# What a shell may set for a server and a network of its own; none of it reaches what is measured.
SHELL = {
    "SLIPWAY_KEYS": "nowhere.yaml",
    "SLIPWAY_WORKERS": "2",
    "SLIPWAY_ENGINES": "nowhere",
    "SLIPWAY_MAX_BODY_BYTES": "1",
    "http_proxy": "http://127.0.0.1:9",
}


def test_the_engine_runs_behind_its_servers_too_and_no_server_stays(engine_dir: Path, tmp_path: Path):
    result = tmp_path / "result.json"
    short = ("--concurrency", 3, "--rounds", 1, "--prompt-tokens", 16, "--max-tokens", 8)
    done = bench(engine_dir, "--over-http", *short, "--json", result, **SHELL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "", "nothing but the table where stderr is no terminal"
    written = json.loads(result.read_text())
    ours = f"slipway {engine_dir.name}"
    assert [spec["name"] for spec in written["figures"]] == [ours, f"{ours}, local", f"{ours}, triton"]
    for spec in written["figures"][1:]:
        assert spec["ratio_to"] == ours
        assert all(point["ratio"]["median"] > 0 for point in spec["workloads"])
    assert len(written["samples"]) == 3 * 2, "three ways, two workloads"
    left = [process for process in psutil.process_iter(["cmdline"]) if _is_a_server(process, engine_dir)]
    assert not psutil.wait_procs(left, timeout=60)[1]


def _is_a_server(process: psutil.Process, engine: Path) -> bool:
    """Whether the bench started it: the repository that it serves is the bench's own."""
    command = " ".join(process.info["cmdline"] or [])
    return str(ROOT / ".cache" / "bench" / engine.name) in command


def test_ctrl_c_prints_what_was_measured(engine_dir: Path, tmp_path: Path):
    result = tmp_path / "result.json"
    command = [sys.executable, "-m", "bench", "runtime", str(engine_dir), *SHORT, "--rounds", "100000"]
    terminal, inside = os.openpty()
    process = subprocess.Popen(
        [*command, "--json", str(result)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "CI"},  # which shows no bar
        stdout=subprocess.PIPE,
        stderr=inside,
        text=True,
    )
    os.close(inside)
    shown = b""
    try:
        while b"round 2" not in shown:
            shown += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(terminal)
    assert process.returncode == 0
    assert "Interrupted" in stdout
    assert "Traceback" not in stdout
    assert json.loads(result.read_text())["samples"]


def test_options_for_peers_without_peers_are_refused(engine_dir: Path):
    done = bench(engine_dir, "--without", "transformers")
    assert done.returncode == 2
    assert done.stderr == "error: Invalid value: options about peers need --peers: add it.\n"


def test_without_the_checkpoint_it_says_that_quality_was_not_measured(engine_dir: Path, tmp_path: Path):
    (tmp_path / "own-model").symlink_to(engine_dir)
    done = bench(tmp_path / "own-model", *QUICK_PEERS, "--without=og.Generator", *NO_SPEED)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "quality is left out: name the checkpoint that the engine was built from with --checkpoint" in said


def test_an_engine_that_cannot_score_is_out_and_one_that_scores_badly_does_not_count():
    answers = "'windows' in batch and ([print(json.dumps({'log_probs': [%s] * (len(each) - 1)})) "
    answers += "for each in batch['windows']], sys.stdout.flush())"
    specs = [
        replace(scoring("good", answers % -1.0), max_loss=0.01),
        replace(scoring("bad", answers % -1.1), max_loss=0.06),
        replace(scoring("mute", "'windows' in batch and sys.exit('no log-probabilities')"), max_loss=0.06),
    ]
    quality_text = QualityText([[1, 2, 3], [4, 5]], scoring("checkpoint", answers % -1.0))
    seen: list[str] = []
    comparison = compare(
        specs, WORKLOADS, 1, lambda count, length: [[1] * length] * count, seen.append, quality_text
    )
    assert comparison.checkpoint_perplexity == pytest.approx(exp(1))
    assert comparison.loss("good") == 0
    assert comparison.loss("bad") == pytest.approx(exp(0.1) - 1)
    assert comparison.failures == {"mute": "no log-probabilities"}
    assert comparison.best_peer(WORKLOADS[0]) == "good"
    assert seen[:4] == [
        "loading checkpoint",
        "checkpoint scores the text",
        "checkpoint scores the text",
        "loading good",
    ]


def test_without_the_checkpoints_score_every_speed_counts_and_the_reason_is_kept():
    broken = EngineSpec(
        "checkpoint", (sys.executable, "-c", "import a_package_that_is_not_there"), ours=False
    )
    quality_text = QualityText([[1, 2]], broken)
    comparison = compare(
        [scripted("a", "pass")], WORKLOADS, 1, lambda n, m: [[1] * m] * n, lambda _: None, quality_text
    )
    assert "a_package_that_is_not_there" in comparison.failures["checkpoint"]
    assert comparison.best_peer(WORKLOADS[0]) == "a"


def test_an_engine_that_dies_or_miscounts_is_out_and_the_others_continue():
    specs = [
        scripted("honest", "pass"),
        scripted("short of breath", "tokens[-1] -= number > 1"),
        scripted("mortal", "number > 2 and sys.exit('out of memory')"),
        EngineSpec("stillborn", (sys.executable, "-c", "import a_package_that_is_not_there"), ours=False),
    ]
    seen: list[str] = []
    comparison = compare(specs, WORKLOADS, 3, lambda count, length: [[1] * length] * count, seen.append)
    assert comparison.failures == {
        "short of breath": "it made [8, 7] tokens instead of 8 for each of 2",
        "mortal": "out of memory",
        "stillborn": "ModuleNotFoundError: No module named 'a_package_that_is_not_there'",
    }
    assert [sample.round for sample in comparison.samples if sample.name == "honest"] == [0, 0, 1, 1, 2, 2]
    assert comparison.best_peer(WORKLOADS[0]) == "honest"
    assert len(seen) == steps(specs, WORKLOADS, 3, None) == len(specs) * (1 + 3 * len(WORKLOADS))


def test_all_engines_get_the_same_prompts_and_no_prompt_comes_twice():
    made: list[int] = []

    def prompts(count: int, length: int) -> list[list[int]]:
        made.append(count)
        return [[len(made)] * length] * count

    # The seconds of these engines are the token ids of the batch.
    echo = "print(json.dumps({'tokens': tokens, 'seconds': batch['prompts'][0][0]}), flush=True); continue"
    comparison = compare([scripted("a", echo), scripted("b", echo)], WORKLOADS, 2, prompts, lambda _: None)
    given = {
        name: [sample.seconds for sample in comparison.samples if sample.name == name] for name in ("a", "b")
    }
    assert given["a"] == given["b"]
    assert len(set(given["a"])) == 4


def test_another_engine_is_first_each_time():
    specs = [scripted(name, "pass") for name in ("a", "b", "c")]
    comparison = compare(
        specs, WORKLOADS[:1], 3, lambda count, length: [[1] * length] * count, lambda _: None
    )
    assert [sample.name for sample in comparison.samples] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
