"""An engine for TensorRT-LLM's PyTorch backend: the checkpoint itself, checked and copied.

`tensorrt_llm.LLM` loads it directly. Nothing is converted or compiled, so any machine can build it.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from build import progress
from build.checkpoint import architecture
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.ends import GENERATION
from build.checkpoint.transformers_config import transformers_config
from build.facts import Facts
from build.trtllm.dtype import cast, dtype_of
from build.trtllm.parallel import check_parallel
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Dtype, Recipe


def facts(recipe: Recipe, words: Sequence[str]) -> Facts:
    """Any machine can build."""
    return Facts(
        method="unquantized",
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
    """Check every number, and copy the files that LLM reads.

    They are not linked: the next training run may write into the same files.
    """
    check_parallel(recipe.parallel, checkpoint.architecture)
    for hint in checkpoint.hints():
        progress.say(f"Note: {hint}")
    dtype = recipe.dtype or dtype_of(checkpoint)
    weights = checkpoint.weights
    with progress.step("Checking for NaN and Inf", checkpoint.size, "bytes") as advance:
        for name in weights.tensors:
            for _, piece in weights.pieces(name):
                cast(piece, dtype, checkpoint, name)
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
    """Check that the folder is a checkpoint. Only a machine with a GPU can generate with it."""
    Checkpoint.open(engine)


def _write_config(checkpoint: Checkpoint, dtype: Dtype, engine: Path) -> None:
    """Write config.json for transformers 4, which TensorRT-LLM 1.2 uses.

    It would read a rope base of 10000 from any config.json of transformers 5. Weights are cast to torch_dtype
    when they are loaded; without it, LLM would run an fp32 checkpoint in fp32.
    """
    values = transformers_config(checkpoint.architecture)
    values |= {"eos_token_id": list(checkpoint.eos_token_ids), "torch_dtype": dtype}
    (engine / architecture.FILE_NAME).write_text(json.dumps(values, indent=2), encoding="utf-8")
