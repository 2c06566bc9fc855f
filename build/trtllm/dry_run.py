"""The commands that make a TensorRT-LLM engine, as a shell script to read or to run by hand."""

import shlex
from pathlib import Path

from build.checkpoint.architecture import Architecture
from build.trtllm.options import IMAGE, TrtllmBuild
from build.trtllm.parallel import check_parallel
from slipway.contract.errors import RecipeError
from slipway.contract.recipe import Recipe

_MERGED = Path("merged")
_CONVERTED = Path("trtllm")


def script(recipe: Recipe, model: Architecture, checkpoint: Path, output: Path) -> str:
    """The commands, each with where to run it.

    Raises RecipeError when the recipe is for another target, BuildError when the ranks cannot share the
    model.
    """
    if not recipe.target.compiled:
        raise RecipeError(
            f"--dry-run shows the commands of target tensorrt-llm; an engine for {recipe.target} is built by "
            "this command itself, without it."
        )
    check_parallel(recipe.parallel, model)
    first = "# On any machine, no GPU needed:"
    if recipe.calibrated:
        first = "# On a machine that holds the whole model, after `make setup-modelopt`; a GPU is not needed:"
    lines = [first]
    if recipe.adapters:
        lines.append(shlex.join(_merge(recipe, checkpoint)))
        checkpoint = _MERGED / recipe.name
    options = TrtllmBuild.of(recipe, model, _CONVERTED / recipe.name, output / recipe.name)
    return "\n".join(
        [
            *lines,
            shlex.join(_convert(recipe, checkpoint)),
            f"# On the GPU that will serve it, in {IMAGE}:",
            shlex.join(options.command()),
        ]
    )


def _merge(recipe: Recipe, checkpoint: Path) -> list[str]:
    words = ["python", "-m", "build", "merge", str(checkpoint), str(_MERGED / recipe.name)]
    return [*words, *(word for adapter in recipe.adapters for word in ("--adapter", str(adapter)))]


def _convert(recipe: Recipe, checkpoint: Path) -> list[str]:
    return [
        *("python", "-m", "build", "convert", str(checkpoint), str(_CONVERTED / recipe.name)),
        *("--quantization", recipe.quantization),
        *(("--kv-cache", recipe.kv_cache.quantization) if recipe.kv_cache.quantization != "none" else ()),
        *(("--calibration", str(recipe.calibration)) if recipe.calibration else ()),
        *(("--dtype", recipe.dtype) if recipe.dtype else ()),
        *("--tensor-parallel", str(recipe.parallel.tensor)),
        *("--pipeline-parallel", str(recipe.parallel.pipeline)),
    ]
