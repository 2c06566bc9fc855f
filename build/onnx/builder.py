"""ONNX Runtime GenAI's model builder, run as a child process."""

import re
import shutil
import sys
from pathlib import Path

from build import program, progress
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.plain_copy import write_plain_copy
from build.onnx import graph
from slipway.contract.quantization import Quantization
from slipway.contract.target import Device

# Weights share one scale per block; larger blocks are faster and much worse (docs/design.md).
BLOCK_SIZE = 32
# The quantization that the builder writes; for the CPU, `int8` and `int4` quantize again from there.
QUANTIZATIONS: dict[Device, Quantization] = {"cpu": "int8", "dml": "int4", "cuda": "int4"}
# The method in the manifest of an engine that keeps the builder's graph.
METHOD = "symmetric 4 bits rounded by ONNX Runtime GenAI's builder"
# 4: the kernel quantizes activations to int8, which is fastest on CPUs; the builder's defaults.
ACCURACY_LEVELS: dict[Device, int] = {"cpu": 4, "dml": 0, "cuda": 0}
GRAPH_FILES = ("model.onnx", "model.onnx.data", "genai_config.json")
# q, k and v (one matrix except for DirectML), o, gate, up, down
_MATRICES_PER_LAYER: dict[Device, int] = {"cpu": 5, "dml": 7, "cuda": 5}
# The builder's output after each part (onnxruntime_genai 0.18.0, models/builders/base.py).
_PART = re.compile(
    rb"^Reading (embedding layer|layer \d+|final norm|LM head)|complete quantization of \S*/MatMul "
)


def export(checkpoint: Checkpoint, device: Device, output: Path, log: Path) -> None:
    """Quantize `checkpoint` for `device` into the new folder `output`, which then has GRAPH_FILES.

    The builder reads more of config.json than is checked, so it gets a plain copy of the checkpoint.
    log: the file for the builder's output, removed when it succeeds. Raises BuildError with the end of the
    log when it fails.
    """
    source = output.with_name(f"{output.name}-source")
    write_plain_copy(checkpoint, source)
    command = [sys.executable, "-P", "-m", "onnxruntime_genai.models.builder"]
    command += ["-i", str(source.resolve()), "-o", str(output.resolve())]
    command += ["-p", QUANTIZATIONS[device], "-e", device, "-c", str(output.resolve() / "cache")]
    command += ["--extra_options", f"block_size={BLOCK_SIZE}", "prune_lm_head=true"]
    layers = checkpoint.architecture.layers
    parts = layers + 3 + _MATRICES_PER_LAYER[device] * layers + 1
    with progress.step(f"Quantizing to {QUANTIZATIONS[device]}", parts) as advance:

        def count_parts(line: bytes) -> None:
            if _PART.search(line):
                advance(1)

        program.run("The ONNX Runtime GenAI builder", command, log, count_parts)
    log.unlink()
    shutil.rmtree(source)
    if checkpoint.architecture.rope.kind == "linear":
        graph.write_rotary_tables(output, checkpoint.architecture)
