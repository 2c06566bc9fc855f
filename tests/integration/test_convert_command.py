"""`python -m build convert` on the sample model, as a person calls it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from support import converted
from support.paths import ROOT

from build.checkpoint.weights import Weights

COMMAND = (sys.executable, "-m", "build", "convert")
# A process counts what its parent had resident when it was started, so a small one comes in between.
MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=60, check=False)


def test_the_sample_is_converted_for_three_gpus_in_little_memory(
    checkpoint_dir: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    asked = (str(checkpoint_dir), str(output), "--tensor-parallel", "3", "--quantization", "int8")
    done = _run(sys.executable, "-c", MEASURED, *COMMAND, *asked)
    assert done.returncode == 0, done.stderr
    said, resident = done.stdout.splitlines()
    assert said == (
        f"{output} is ready: 326 MB of bfloat16 in 3 ranks, which trtllm-build will quantize (W8A16)."
    )
    assert int(resident) < 200_000  # kB, Python and its packages included; the checkpoint has 269 MB
    config = json.loads((output / "config.json").read_text())
    assert config["mapping"] == {"world_size": 3, "tp_size": 3, "pp_size": 1}

    weights = Weights(checkpoint_dir)
    back = converted.read_back(output)
    assert np.array_equal(back.pop("lm_head.weight"), back["model.embed_tokens.weight"])
    assert back.keys() == weights.tensors.keys()
    for name, tensor in back.items():
        assert np.array_equal(tensor, weights.read(name)), name


def test_what_cannot_be_done_is_one_sentence(checkpoint_dir: Path, tmp_path: Path) -> None:
    done = _run(*COMMAND, str(checkpoint_dir), str(tmp_path / "output"), "--tensor-parallel", "2")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "A tensor parallelism of 2 does not suit the model: 9 attention heads cannot be divided evenly among "
        "2 ranks; give 1 or 3.\n"
    )
    assert list(tmp_path.iterdir()) == []
