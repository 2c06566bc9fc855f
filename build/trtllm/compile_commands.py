"""The commands that make a TensorRT-LLM engine of a recipe.

`engine --dry-run` prints them; `trtllm_engine` runs them.
"""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, Self

from build.checkpoint.architecture import Architecture
from build.trtllm.mapping import Mapping
from build.trtllm.memory import TOKENS_PER_BLOCK
from slipway.contract.errors import RecipeError
from slipway.contract.recipe import Dtype, Recipe

IMAGE = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
PROGRAM = "trtllm-build"
MERGED = Path("merged")
CONVERTED = Path("trtllm")


@dataclass(frozen=True, slots=True)
class TrtllmBuild:
    """Options of trtllm-build by their names (tensorrt_llm/commands/build.py and plugin/plugin.py of 1.2).

    In-flight batching is packed input (remove_input_padding) with a paged KV cache and the attention plugin,
    whose `auto` is the checkpoint's dtype; use_paged_context_fmha lets it read long prompts in chunks and use
    blocks again. gemm_plugin: cuBLASLt for what is not quantised; only without it is an lm_head that equals
    the embedding held once (docs/source/performance/perf-best-practices.md, embedding sharing).
    multiple_profiles: recommended by useful-build-time-flags.md beside it. workers: ranks built at once, one
    GPU each.
    """

    checkpoint_dir: Path
    output_dir: Path
    max_batch_size: int
    max_input_len: int
    max_seq_len: int
    max_num_tokens: int
    gpt_attention_plugin: Dtype | Literal["auto"]
    gemm_plugin: Literal["auto", "disable"]
    workers: int
    max_beam_width: int = 1
    kv_cache_type: Literal["paged"] = "paged"
    tokens_per_block: int = TOKENS_PER_BLOCK
    remove_input_padding: bool = True
    context_fmha: bool = True
    use_paged_context_fmha: bool = True
    multiple_profiles: bool = True

    @classmethod
    def of(cls, recipe: Recipe, model: Architecture, output: Path) -> Self:
        """What the recipe says, for an engine in `output`/NAME. Raises RecipeError when limits do not fit."""
        limits = recipe.limits_for(model.context)
        assert limits.max_num_tokens is not None
        return cls(
            checkpoint_dir=CONVERTED / recipe.name,
            output_dir=output / recipe.name,
            max_batch_size=limits.max_batch_size,
            max_input_len=limits.max_input_len,
            max_seq_len=limits.max_seq_len,
            max_num_tokens=limits.max_num_tokens,
            gpt_attention_plugin=recipe.dtype or "auto",
            gemm_plugin="disable" if model.tied else "auto",
            workers=Mapping(recipe.parallel.tensor, recipe.parallel.pipeline).world_size,
        )

    def command(self) -> list[str]:
        """The program and its arguments; a switch is written enable or disable, as plugins are."""
        words = [PROGRAM]
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool):
                value = "enable" if value else "disable"
            words += [f"--{field.name}", str(value)]
        return words


def merge_command(recipe: Recipe, checkpoint: Path) -> list[str]:
    """What puts a recipe's adapters into its checkpoint."""
    words = ["python", "-m", "build", "merge", str(checkpoint), str(MERGED / recipe.name)]
    return [*words, *(word for adapter in recipe.adapters for word in ("--adapter", str(adapter)))]


def convert_command(recipe: Recipe, checkpoint: Path) -> list[str]:
    """What writes the checkpoint that trtllm-build reads."""
    return [
        *("python", "-m", "build", "convert", str(checkpoint), str(CONVERTED / recipe.name)),
        *("--quantization", recipe.quantization),
        *(("--kv-cache", recipe.kv_cache.quantization) if recipe.kv_cache.quantization != "none" else ()),
        *(("--calibration", str(recipe.calibration)) if recipe.calibration else ()),
        *(("--dtype", recipe.dtype) if recipe.dtype else ()),
        *("--tensor-parallel", str(recipe.parallel.tensor)),
        *("--pipeline-parallel", str(recipe.parallel.pipeline)),
    ]


def commands(recipe: Recipe, model: Architecture, checkpoint: Path, output: Path) -> str:
    """A shell script of both, each with where to run it.

    Raises RecipeError when the recipe is for another target, BuildError when the model cannot be shared as
    it says.
    """
    if not recipe.target.compiled:
        raise RecipeError(
            f"--dry-run shows the commands of target tensorrt-llm; an engine for {recipe.target} is built by "
            "this command itself, without it."
        )
    Mapping(recipe.parallel.tensor, recipe.parallel.pipeline).check(model)
    first = "# On any machine, no GPU needed:"
    if recipe.calibrated:
        first = "# On a machine that holds the whole model, after `make setup-modelopt`; a GPU is not needed:"
    converted = MERGED / recipe.name if recipe.adapters else checkpoint
    return "\n".join(
        [
            first,
            *([shlex.join(merge_command(recipe, checkpoint))] if recipe.adapters else []),
            shlex.join(convert_command(recipe, converted)),
            f"# On the GPU that will serve it, in {IMAGE}:",
            shlex.join(TrtllmBuild.of(recipe, model, output).command()),
        ]
    )
