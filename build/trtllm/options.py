"""The options of trtllm-build."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, Self

from build.checkpoint.architecture import Architecture
from build.trtllm.memory import TOKENS_PER_BLOCK
from slipway.contract.recipe import Dtype, Recipe

IMAGE = "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
PROGRAM = "trtllm-build"


@dataclass(frozen=True, slots=True)
class TrtllmBuild:
    """Options by their names (tensorrt_llm/commands/build.py and plugin/plugin.py of 1.2).

    In-flight batching needs packed input (remove_input_padding), a paged KV cache and the attention plugin,
    whose `auto` is the checkpoint's dtype. use_paged_context_fmha lets it read long prompts in chunks and
    reuse blocks. gemm_plugin: cuBLASLt for unquantized matrices; only without it, an lm_head that equals the
    embedding is stored once (docs/source/performance/perf-best-practices.md, embedding sharing).
    multiple_profiles: recommended in useful-build-time-flags.md. workers: ranks built at once, one GPU each.
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
    def of(cls, recipe: Recipe, model: Architecture, checkpoint: Path, output: Path) -> Self:
        """The options for a recipe. Raises RecipeError when its limits do not fit the model."""
        limits = recipe.limits_for(model.context)
        assert limits.max_num_tokens is not None
        return cls(
            checkpoint_dir=checkpoint,
            output_dir=output,
            max_batch_size=limits.max_batch_size,
            max_input_len=limits.max_input_len,
            max_seq_len=limits.max_seq_len,
            max_num_tokens=limits.max_num_tokens,
            gpt_attention_plugin=recipe.dtype or "auto",
            gemm_plugin="disable" if model.tied else "auto",
            workers=recipe.parallel.world_size,
        )

    def command(self) -> list[str]:
        """The program and its arguments; a switch is `enable` or `disable`, as for plugins."""
        words = [PROGRAM]
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool):
                value = "enable" if value else "disable"
            words += [f"--{field.name}", str(value)]
        return words
