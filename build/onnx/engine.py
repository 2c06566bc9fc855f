"""An engine for ONNX Runtime: exported, quantised, read back and made to generate; called by `engine`."""

import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from build import progress
from build.checkout import CHECKOUT
from build.checkpoint.checkpoint import Checkpoint
from build.maker import Facts
from build.onnx import builder as genai
from build.onnx import drafts, graph, int4, int8
from slipway.contract.errors import BuildError
from slipway.contract.manifest import Manifest
from slipway.contract.quantization import Quantization
from slipway.contract.recipe import Recipe

_BITS: dict[Quantization, int] = {"int8": 8, "int4": 4}
# For the CPU the builder's graph is where these start from; for GPUs it stays as it is.
_QUANTISERS = {"int8": int8, "int4": int4}
_BUILT_WITH = ("onnxruntime-genai", "onnxruntime", "transformers", "torch")


def facts(recipe: Recipe, words: Sequence[str]) -> Facts:
    """Builds on any machine, so nothing is refused."""
    on_cpu = recipe.target.device == "cpu"
    return Facts(
        method=_QUANTISERS[recipe.quantization].METHOD if on_cpu else genai.METHOD,
        versions={package: metadata.version(package) for package in _BUILT_WITH},
        requires=dict(recipe.target.requires),
        device=recipe.target.device,
        settings={"drafts": drafts.VERSION} if on_cpu else {},
    )


def make(
    recipe: Recipe, checkpoint: Checkpoint, planned: Manifest, work: Path, engine: Path, log: Path
) -> None:
    """Export, quantise and read back; see `maker`."""
    for hint in checkpoint.hints():
        progress.say(f"Note: {hint}")
    with progress.step("Checking for NaN and Inf", checkpoint.size, "bytes") as advance:
        for size in checkpoint.check_finite():
            advance(size)
    exported = work / "export"
    genai.export(checkpoint, recipe.target.device, exported, log)
    for name in genai.GRAPH_FILES:
        (exported / name).rename(engine / name)
    if recipe.target.device == "cpu":
        _QUANTISERS[recipe.quantization].quantise(engine, checkpoint)
        drafts.prepare(engine)
    graph.check(
        engine,
        checkpoint.architecture,
        _BITS[recipe.quantization],
        _BITS[genai.QUANTIZATIONS[recipe.target.device]],
        genai.BLOCK_SIZE,
        genai.ACCURACY_LEVELS[recipe.target.device],
    )


def try_out(engine: Path) -> None:
    """Let the serving path load the engine and generate; some graphs build and then do not run."""
    progress.say("Generating a few tokens")
    # A machine that builds for a GPU need not have it; the graph is the same on the CPU.
    command = [sys.executable, "-m", "slipway", "check", str(engine.resolve()), "--cpu"]
    ran = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise BuildError(
            f"The engine was built but does not work: {ran.stderr.strip().removeprefix('error: ')}"
        )
    progress.say(ran.stdout.strip())
