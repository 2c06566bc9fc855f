"""An engine for ONNX Runtime: exported, quantized, checked and tried out."""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from build import progress, trial
from build.checkpoint.checkpoint import Checkpoint
from build.facts import Facts
from build.onnx import builder, drafts, graph, int4, int8, positions
from slipway.contract.manifest import Manifest
from slipway.contract.quantization import Quantization
from slipway.contract.recipe import Recipe

_BITS: dict[Quantization, int] = {"int8": 8, "int4": 4}
# For the CPU these start from the builder's graph; for GPUs it is used as it is.
_QUANTIZERS = {"int8": int8, "int4": int4}
_BUILT_WITH = ("onnxruntime-genai", "onnxruntime", "transformers", "torch")


def facts(recipe: Recipe, words: Sequence[str]) -> Facts:
    """Any machine can build."""
    on_cpu = recipe.target.device == "cpu"
    return Facts(
        method=_QUANTIZERS[recipe.quantization].METHOD if on_cpu else builder.METHOD,
        versions={package: metadata.version(package) for package in _BUILT_WITH},
        requires=dict(recipe.target.requires),
        device=recipe.target.device,
        settings={"drafts": drafts.VERSION, "positions": positions.VERSION} if on_cpu else {},
    )


def make(
    recipe: Recipe, checkpoint: Checkpoint, planned: Manifest, work: Path, engine: Path, log: Path
) -> None:
    """Export, quantize and check the graph."""
    for hint in checkpoint.hints():
        progress.say(f"Note: {hint}")
    checkpoint.check_finite()
    exported = work / "export"
    builder.export(checkpoint, recipe.target.device, exported, log)
    for name in builder.GRAPH_FILES:
        (exported / name).rename(engine / name)
    if recipe.target.device == "cpu":
        _QUANTIZERS[recipe.quantization].quantize(engine, checkpoint)
        drafts.add_writers(engine)
        positions.add_places(engine)
    graph.check(
        engine,
        checkpoint.architecture,
        _BITS[recipe.quantization],
        _BITS[builder.QUANTIZATIONS[recipe.target.device]],
        builder.BLOCK_SIZE,
        builder.ACCURACY_LEVELS[recipe.target.device],
    )


def try_out(engine: Path) -> None:
    """Load the engine as serving does and generate; some graphs build and then do not run."""
    trial.run(engine)
