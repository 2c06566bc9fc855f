"""ONNX Runtime GenAI's model builder, run as a child process; called by `engine` for the onnx targets."""

import re
import sys
from pathlib import Path

from build import program, progress
from build.checkpoint.checkpoint import Checkpoint
from build.onnx import graph
from slipway.contract.quantization import Quantization
from slipway.contract.target import Device

# Weights share one scale per block; larger blocks are faster and much worse (docs/design.md).
BLOCK_SIZE = 32
# What the builder makes; for the CPU `int8` and `int4` go on from there.
QUANTIZATIONS: dict[Device, Quantization] = {"cpu": "int8", "dml": "int4", "cuda": "int4"}
# What the manifest says was done where nobody goes on.
METHOD = "symmetric 4 bits rounded by ONNX Runtime GenAI's builder"
# 4: the kernel quantises activations to int8, the fast road on CPUs; the builder's defaults.
ACCURACY_LEVELS: dict[Device, int] = {"cpu": 4, "dml": 0, "cuda": 0}
GRAPH_FILES = ("model.onnx", "model.onnx.data", "genai_config.json")
# q, k and v (in one but for DirectML), o, gate, up, down
_MATRICES_PER_LAYER: dict[Device, int] = {"cpu": 5, "dml": 7, "cuda": 5}
# What the builder prints (onnxruntime_genai 0.18.0, models/builders/base.py) when a part is done.
_PART = re.compile(
    rb"^Reading (embedding layer|layer \d+|final norm|LM head)|complete quantization of \S*/MatMul "
)


def export(checkpoint: Checkpoint, device: Device, output: Path, log: Path) -> None:
    """Quantise `checkpoint` for `device` into the new folder `output`, where GRAPH_FILES are what counts.

    log: where the builder's own words go; it is removed when all went well. Raises BuildError with the end
    of the log otherwise.
    """
    command = [sys.executable, "-P", "-m", "onnxruntime_genai.models.builder"]
    command += ["-i", str(checkpoint.directory.resolve()), "-o", str(output.resolve())]
    command += ["-p", QUANTIZATIONS[device], "-e", device, "-c", str(output.resolve() / "cache")]
    command += ["--extra_options", f"block_size={BLOCK_SIZE}", "prune_lm_head=true"]
    layers = checkpoint.architecture.layers
    parts = layers + 3 + _MATRICES_PER_LAYER[device] * layers + 1
    with progress.step(f"Quantising to {QUANTIZATIONS[device]}", parts) as advance:

        def heard(line: bytes) -> None:
            if _PART.search(line):
                advance(1)

        program.run("The ONNX Runtime GenAI builder", command, log, heard)
    if checkpoint.architecture.rope.kind == "linear":
        graph.write_rotary_tables(output, checkpoint.architecture)
