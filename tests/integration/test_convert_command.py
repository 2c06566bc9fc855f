"""`python -m build convert` on the sample model, as a person calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import converted
import numpy as np
from servers import ROOT

from build.weights import Weights


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "build", "convert", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )


def test_the_sample_is_converted_for_three_gpus_in_little_memory(
    checkpoint_dir: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    process = _start(str(checkpoint_dir), str(output), "--tensor-parallel", "3", "--quantization", "int8")
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.stdout
    assert process.stderr
    with process.stdout as said, process.stderr as progress:
        assert process.returncode == 0, progress.read()
        assert said.read() == (
            f"{output} is ready: 326 MB of bfloat16 in 3 ranks, which trtllm-build will quantise (W8A16).\n"
        )
    assert used.ru_maxrss < 200_000  # kB, Python and its packages included; the checkpoint has 269 MB
    config = json.loads((output / "config.json").read_text())
    assert config["mapping"] == {"world_size": 3, "tp_size": 3, "pp_size": 1}

    weights = Weights(checkpoint_dir)
    back = converted.read_back(output)
    assert np.array_equal(back.pop("lm_head.weight"), back["model.embed_tokens.weight"])
    assert back.keys() == weights.tensors.keys()
    for name, tensor in back.items():
        assert np.array_equal(tensor, weights.read(name)), name


def test_what_cannot_be_done_is_one_sentence(checkpoint_dir: Path, tmp_path: Path) -> None:
    process = _start(str(checkpoint_dir), str(tmp_path / "output"), "--tensor-parallel", "2")
    said, sentence = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == ""
    assert sentence == (
        "A tensor parallelism of 2 does not suit the model: 9 attention heads cannot be dealt out evenly to "
        "2 ranks; give 1 or 3.\n"
    )
    assert list(tmp_path.iterdir()) == []
