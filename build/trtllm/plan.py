"""Whether the TensorRT-LLM engine of a recipe fits a GPU, and which recipe does."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import get_args

from build.checkpoint.architecture import Architecture
from build.trtllm import memory
from build.trtllm.budget import Budget, gib
from build.trtllm.gpu import Gpu
from build.trtllm.parallel import check_parallel
from slipway.contract.errors import BuildError, RecipeError
from slipway.contract.quantization import CALIBRATED, Quantization
from slipway.contract.recipe import Limits, Recipe

# Values that a suggestion may have.
_MIN_SEQ_LEN = 1024
_NUM_TOKENS = (4096, 2048, 1024)
_BATCH_SIZES = (16, 4)
_TENSOR = (2, 4, 8)


@dataclass(frozen=True, slots=True)
class Plan:
    """budgets: one for each quantization. refusal: why the engine does not fit; None when it does.

    suggestion: a recipe that fits, when the given one does not and there is one.
    """

    recipe: Recipe
    model: Architecture
    gpu: Gpu
    limits: Limits
    budgets: tuple[Budget, ...]
    refusal: str | None
    suggestion: Recipe | None

    @property
    def chosen(self) -> Budget:
        """The budget of the recipe's quantization."""
        return next(item for item in self.budgets if item.quantization == self.recipe.quantization)


def make(recipe: Recipe, model: Architecture, gpu: Gpu) -> Plan:
    """Plan the engine of `recipe`.

    Raises RecipeError when the recipe is for another target or its limits do not fit the model, BuildError
    when the ranks cannot share the model.
    """
    if not recipe.target.compiled:
        raise RecipeError(
            f"Recipe {recipe.name} is for target {recipe.target}; a plan is for tensorrt-llm. `python -m "
            "build inspect CHECKPOINT` shows what the weights take."
        )
    check_parallel(recipe.parallel, model)
    limits = recipe.limits_for(model.context)
    budgets = tuple(Budget.of(recipe, model, gpu, each) for each in get_args(Quantization))
    chosen = Budget.of(recipe, model, gpu)
    refusal = chosen.obstacle or chosen.shortage(limits)
    suggestion = None
    if refusal:
        candidates = _candidates(_with_possible_cache(recipe, gpu), model, limits)
        suggestion = next((candidate for candidate in candidates if fits(candidate, model, gpu)), None)
        count = recipe.parallel.world_size
        gpus = f"{count} x {gpu}" if count > 1 else str(gpu)
        way_out = _way_out(recipe, suggestion, model, gpu)
        refusal = f"{recipe.name} cannot be served by {gpus}: {refusal}; {way_out}."
    return Plan(recipe, model, gpu, limits, budgets, refusal, suggestion)


def fits(recipe: Recipe, model: Architecture, gpu: Gpu) -> bool:
    """Whether the GPU can run the engine, with at least one sequence of full length."""
    budget = Budget.of(recipe, model, gpu)
    return budget.obstacle is None and budget.sequences(recipe.limits_for(model.context).max_seq_len) > 0


def changes(recipe: Recipe, other: Recipe, context: int) -> list[str]:
    """The fields in which `other` builds another engine, as `key value`. context: the model's, in tokens."""
    before, after = _resolved(recipe, context), _resolved(other, context)
    return [f"{key} {value}" for key, value in after.items() if before[key] != value]


def _candidates(recipe: Recipe, model: Architecture, limits: Limits) -> Iterator[Recipe]:
    """Recipes that need less and less memory on each GPU.

    First with fewer tokens in a step, then fewer sequences, another quantization, a shorter context, and at
    last with more GPUs.
    """
    assert limits.max_num_tokens is not None
    plain = (each for each in get_args(Quantization) if each not in CALIBRATED)
    quantizations = [recipe.quantization, *(each for each in plain if each != recipe.quantization)]
    batches = [limits.max_batch_size, *(size for size in _BATCH_SIZES if size < limits.max_batch_size)]
    tokens = [limits.max_num_tokens, *(count for count in _NUM_TOKENS if count < limits.max_num_tokens)]
    lengths = [limits.max_seq_len]
    while lengths[-1] // 2 >= _MIN_SEQ_LEN:
        lengths.append(lengths[-1] // 2)
    tensors = [recipe.parallel.tensor, *(parts for parts in _TENSOR if parts > recipe.parallel.tensor)]
    for values in product(tensors, lengths, quantizations, batches, tokens):
        candidate = _changed(recipe, *values)
        if _is_possible(candidate, model):
            yield candidate


def _with_possible_cache(recipe: Recipe, gpu: Gpu) -> Recipe:
    """The recipe, with an unquantized KV cache if the GPU has no kernels for the quantized one."""
    if gpu.obstacle("none", recipe.kv_cache.quantization) is None:
        return recipe
    cache = recipe.kv_cache.model_copy(update={"quantization": "none"})
    return recipe.model_copy(update={"kv_cache": cache})


def _is_possible(recipe: Recipe, model: Architecture) -> bool:
    try:
        check_parallel(recipe.parallel, model)
        recipe.limits_for(model.context)
    except (BuildError, RecipeError):
        return False
    return True


def _changed(
    recipe: Recipe,
    tensor: int,
    max_seq_len: int,
    quantization: Quantization,
    max_batch_size: int,
    max_num_tokens: int,
) -> Recipe:
    """The recipe with these values; all others stay."""
    values = recipe.model_dump(mode="json", exclude_unset=True)
    limits = values.setdefault("limits", {})
    limits |= {
        "max_batch_size": max_batch_size,
        "max_seq_len": max_seq_len,
        "max_num_tokens": max_num_tokens,
    }
    if limits.get("max_input_len"):
        limits["max_input_len"] = min(limits["max_input_len"], max_seq_len - 1)
    if tensor != recipe.parallel.tensor:
        parallel = values.setdefault("parallel", {})
        parallel["tensor"] = tensor
        parallel.pop("gpus", None)  # their number changes
    values["quantization"] = quantization
    if quantization not in CALIBRATED and recipe.kv_cache.quantization == "none":
        values.pop("calibration", None)
    return Recipe.model_validate({key: values[key] for key in Recipe.model_fields if key in values})


def _way_out(recipe: Recipe, suggestion: Recipe | None, model: Architecture, gpu: Gpu) -> str:
    if suggestion:
        length = suggestion.limits_for(model.context).max_seq_len
        count = Budget.of(suggestion, model, gpu).sequences(length)
        holds = f"{count:,} sequence{'s' if count > 1 else ''} of {length:,} tokens"
        changed = ", ".join(changes(recipe, suggestion, model.context))
        return f"the recipe that is printed fits, with {changed}, and holds {holds}"
    if model.head_dim not in memory.HEAD_SIZES:
        return "no recipe changes that"
    if gpu.obstacle("none"):
        return "take a newer GPU"
    candidates = _candidates(recipe, model, recipe.limits_for(model.context))
    smallest = min(candidates, key=lambda candidate: _needed(candidate, model, gpu))
    changed, needed = ", ".join(changes(recipe, smallest, model.context)), _needed(smallest, model, gpu)
    return f"no smaller engine fits either: even {changed} needs GPUs of {gib(needed)}"


def _needed(recipe: Recipe, model: Architecture, gpu: Gpu) -> float:
    """Bytes of a GPU that has room for the engine and one sequence."""
    length = recipe.limits_for(model.context).max_seq_len
    return Budget.of(recipe, model, gpu).needed(length) * gpu.memory / gpu.visible


def _resolved(recipe: Recipe, context: int) -> dict[str, object]:
    """The fields that a suggestion may change, with defaults."""
    limits = recipe.limits_for(context).model_dump(exclude={"max_input_len"})
    return {
        "quantization": recipe.quantization,
        "kv_cache.quantization": recipe.kv_cache.quantization,
        **{f"limits.{key}": value for key, value in limits.items()},
        "parallel.tensor": recipe.parallel.tensor,
    }
