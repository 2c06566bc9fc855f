"""An engine for TensorRT-LLM's PyTorch backend: the checkpoint, checked and whole; called by `engine`.

`tensorrt_llm.LLM` loads it as it is: nothing is converted or compiled, so any machine builds it. What serves
it is `ensemble.llmapi`.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from build import progress
from build.checkpoint import architecture, json_file
from build.checkpoint.checkpoint import GENERATION, Checkpoint
from build.maker import Facts
from build.trtllm import config as trtllm_config
from build.trtllm import convert
from build.trtllm.mapping import Mapping
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Dtype, Recipe


def facts(recipe: Recipe, words: Sequence[str]) -> Facts:
    """Builds on any machine, so nothing is refused."""
    return Facts(
        method="unquantised",
        versions={},
        requires=dict(recipe.target.requires),
        device=recipe.target.device,
        settings={
            **recipe.model_dump(mode="json", include={"dtype": True, "parallel": {"tensor", "pipeline"}}),
            "kv_cache_quantization": recipe.kv_cache.quantization,
        },
    )


def make(
    recipe: Recipe, checkpoint: Checkpoint, planned: Manifest, work: Path, engine: Path, log: Path
) -> None:
    """Check every number, and copy what LLM reads; see `maker`.

    Copied, not linked: the next training run may write into the same files.
    """
    Mapping(recipe.parallel.tensor, recipe.parallel.pipeline).check(checkpoint.architecture)
    for hint in checkpoint.hints():
        progress.say(f"Note: {hint}")
    dtype = recipe.dtype or convert.native(checkpoint)
    weights = checkpoint.weights
    with progress.step("Checking for NaN and Inf", checkpoint.size, "bytes") as advance:
        for name in weights.tensors:
            for _, piece in weights.pieces(name):
                convert.cast(piece, dtype, checkpoint, name)
                advance(piece.nbytes)
    sizes = {name: (checkpoint.directory / name).stat().st_size for name in weights.files}
    with progress.step("Copying the weights", sum(sizes.values()), "bytes") as advance:
        for name, size in sizes.items():
            shutil.copyfile(checkpoint.directory / name, engine / name)
            advance(size)
    _write_config(checkpoint, dtype, engine)
    if (checkpoint.directory / GENERATION).is_file():
        shutil.copyfile(checkpoint.directory / GENERATION, engine / GENERATION)


def try_out(engine: Path) -> None:
    """The folder is a checkpoint of its own. That it generates, only a machine with a GPU shows."""
    Checkpoint.open(engine)


def _write_config(checkpoint: Checkpoint, dtype: Dtype, engine: Path) -> None:
    """config.json as transformers 4 has it, which TensorRT-LLM 1.2 brings.

    Read by it, one that transformers 5 wrote has a rope base of 10000, whatever it says. The dtype is what
    weights are cast to when they are loaded; LLM would run a checkpoint in fp32 in that.
    """
    values = json_file.read(checkpoint.directory / architecture.FILE_NAME)
    rope = checkpoint.architecture.rope
    replaced = ("rope_parameters", "dtype")
    values = {key: value for key, value in values.items() if key not in replaced} | {
        "rope_theta": rope.theta,
        "rope_scaling": trtllm_config.rotary_scaling(rope),
        "torch_dtype": dtype,
    }
    (engine / architecture.FILE_NAME).write_text(json.dumps(values, indent=2), encoding="utf-8")
