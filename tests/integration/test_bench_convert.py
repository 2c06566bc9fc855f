"""`python -m bench convert` on a small random checkpoint."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.paths import ROOT

SHAPES = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}


def _bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "bench", "convert", *options)
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=120, check=False)


def test_it_compares_our_converter_with_cp_and_leaves_nothing_behind(tmp_path: Path) -> None:
    config, figures, disk = tmp_path / "config.json", tmp_path / "figures.json", tmp_path / "disk"
    config.write_text(json.dumps(SHAPES))
    disk.mkdir()
    options = ("--config", str(config), "--layers", "2", "--rounds", "2", "--folder", str(disk))
    done = _bench(*options, "--json", str(figures))
    assert done.returncode == 0, done.stderr
    assert "median of 2" in done.stdout
    told = json.loads(figures.read_text())
    layer = 256 * (256 + 128 + 128 + 256) + 3 * 256 * 512 + 2 * 256
    assert told["weights_bytes"] == 2 * (2 * layer + 2 * 1024 * 256 + 256)
    assert list(told["figures"]) == ["cp -r", "slipway, 1 GPU", "slipway, 2 GPUs"]
    assert told["figures"]["cp -r"]["to_copy"] == {"median": 1, "low": 1, "high": 1}
    for name, row in told["figures"].items():
        assert row["speed"]["median"] > 0, name
    assert 20e6 < told["figures"]["slipway, 1 GPU"]["peak_bytes"] < 200e6
    assert list(disk.iterdir()) == []


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "bench", "convert", "--layers", "1", "--folder", str(tmp_path))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as bench:
        while not list(tmp_path.glob("*/checkpoint/*.safetensors")):
            time.sleep(0.02)
        bench.send_signal(signal.SIGINT)
        _, told = bench.communicate(timeout=60)
    assert b"Interrupted" in told
    assert b"Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_a_config_that_is_none_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    done = _bench("--config", str(config))
    assert done.returncode == 2
    assert "is no Llama's config.json (KeyError(" in done.stderr


def test_a_converter_that_refuses_is_named_with_its_sentence(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SHAPES))
    options = ("--config", str(config), "--layers", "1", "--rounds", "1", "--tensor-parallel", "3")
    done = _bench(*options, "--folder", str(tmp_path))
    assert done.returncode == 1
    assert "slipway, 3 GPUs: A tensor parallelism of 3 does not suit the model" in done.stderr
    assert list(tmp_path.iterdir()) == [config]
