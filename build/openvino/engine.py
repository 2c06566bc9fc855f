"""An engine for OpenVINO: written, read back and tried out."""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from build import progress, trial
from build.checkpoint.checkpoint import Checkpoint
from build.facts import Facts
from build.openvino.write import METHODS, write
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Recipe


def facts(recipe: Recipe, words: Sequence[str]) -> Facts:
    """Any machine can build."""
    version = metadata.version("openvino")
    return Facts(
        method=METHODS[recipe.quantization],
        versions={"openvino": version},
        # The kernels decide what a graph computes to the bit, and which graphs are fast.
        requires={"openvino": f"=={version}"},
        device=recipe.target.device,
    )


def make(
    recipe: Recipe, checkpoint: Checkpoint, planned: Manifest, work: Path, engine: Path, log: Path
) -> None:
    """Write the graph and the weights."""
    for hint in checkpoint.hints():
        progress.say(f"Note: {hint}")
    checkpoint.check_finite()
    write(engine, checkpoint, recipe.quantization, work)


def try_out(engine: Path) -> None:
    """Load the engine as serving does and generate."""
    trial.run(engine)
