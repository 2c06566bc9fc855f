"""Whether a recipe's TensorRT-LLM engine fits a GPU, and which recipe does; called by the command."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from build.checkpoint.architecture import Architecture
from build.trtllm import memory
from build.trtllm.gpu import Gpu
from build.trtllm.mapping import Mapping
from slipway.contract.errors import BuildError, RecipeError
from slipway.contract.quantization import CALIBRATED, Quantization
from slipway.contract.recipe import Limits, Recipe

GIB = 1 << 30
_SHORTEST = 1024  # tokens; no sequence shorter than this is suggested
_NUM_TOKENS = (4096, 2048, 1024)
_BATCH_SIZES = (16, 4)
_TENSOR = (2, 4, 8)


@dataclass(frozen=True, slots=True)
class Budget:
    """Where the memory of one GPU goes, in bytes, with one quantization.

    obstacle: why there are no kernels for it on the GPU, or for the model's heads or matrices, or None.
    visible: all that CUDA can give out. memory_share: of what is free once the engine is loaded, for the KV
    cache.
    """

    quantization: Quantization
    obstacle: str | None
    visible: int
    weights: int
    activations: int
    buffers: int
    communication: int
    context: int
    kv_per_token: int
    memory_share: float

    @property
    def others(self) -> int:
        """Bytes of buffers, communication and CUDA's own."""
        return self.buffers + self.communication + self.context

    @property
    def free(self) -> int:
        """Bytes left when the engine is loaded; below zero when it cannot be."""
        return self.visible - self.weights - self.activations - self.others

    @property
    def kv_tokens(self) -> int:
        """Tokens of all sequences that the KV cache holds, in whole blocks."""
        block = memory.TOKENS_PER_BLOCK
        return max(0, int(self.free * self.memory_share)) // (self.kv_per_token * block) * block

    def sequences(self, length: int) -> int:
        """How many sequences of `length` tokens the KV cache holds at once."""
        block = memory.TOKENS_PER_BLOCK
        return self.kv_tokens // (-(-length // block) * block)


@dataclass(frozen=True, slots=True)
class Plan:
    """budgets: one for each quantization. refusal: why the recipe's engine cannot be; None when it can.

    suggestion: a recipe that fits, when the given one does not and another does.
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
        """That of the recipe."""
        return next(item for item in self.budgets if item.quantization == self.recipe.quantization)


def make(recipe: Recipe, model: Architecture, gpu: Gpu) -> Plan:
    """Plan the engine of `recipe`.

    Raises RecipeError when the recipe is for another target or its limits contradict the model, BuildError
    when the model cannot be shared as it says.
    """
    if not recipe.target.compiled:
        raise RecipeError(
            f"Recipe {recipe.name} is for target {recipe.target}; a plan is for tensorrt-llm. What "
            "weights take is on the page of `python -m build inspect CHECKPOINT`."
        )
    mapping_of(recipe).check(model)
    limits = recipe.limits_for(model.context)
    budgets = tuple(_budget(recipe, model, gpu, limits, form) for form in get_args(Quantization))
    chosen = next(item for item in budgets if item.quantization == recipe.quantization)
    refusal = chosen.obstacle or _shortage(chosen, limits)
    suggestion = None
    if refusal:
        candidates = _candidates(_with_possible_cache(recipe, gpu), model, limits)
        suggestion = next((candidate for candidate in candidates if fits(candidate, model, gpu)), None)
        subject = f"{recipe.name} cannot be served by {_gpus(recipe, gpu)}"
        refusal = f"{subject}: {refusal}; {_way_out(recipe, suggestion, model, gpu)}."
    return Plan(recipe, model, gpu, limits, budgets, refusal, suggestion)


def fits(recipe: Recipe, model: Architecture, gpu: Gpu) -> bool:
    """Whether the GPU can run it, and holds at least one sequence of full length."""
    limits = recipe.limits_for(model.context)
    budget = _budget(recipe, model, gpu, limits, recipe.quantization)
    return budget.obstacle is None and budget.sequences(limits.max_seq_len) > 0


def changes(recipe: Recipe, other: Recipe, context: int) -> list[str]:
    """The fields in which `other` builds something else, as `key value`; `context` is the model's."""
    before, after = _resolved(recipe, context), _resolved(other, context)
    return [f"{key} {value}" for key, value in after.items() if before[key] != value]


def mapping_of(recipe: Recipe) -> Mapping:
    """How the recipe's engine is shared by GPUs."""
    return Mapping(recipe.parallel.tensor, recipe.parallel.pipeline)


def gib(size: float) -> str:
    """Bytes as people compare them with a GPU's memory."""
    return f"{size / GIB:.2f} GiB"


def _budget(
    recipe: Recipe, model: Architecture, gpu: Gpu, limits: Limits, quantization: Quantization
) -> Budget:
    assert limits.max_num_tokens is not None
    mapping = mapping_of(recipe)
    return Budget(
        quantization=quantization,
        obstacle=_obstacle(quantization, recipe, model, gpu),
        visible=gpu.visible,
        weights=memory.weight_bytes(model, quantization, mapping),
        activations=memory.activation_bytes(model, limits.max_num_tokens, mapping),
        buffers=memory.buffer_bytes(model, limits.max_batch_size, limits.max_seq_len),
        communication=memory.communication_bytes(mapping),
        context=memory.context_bytes(gpu.memory),
        kv_per_token=memory.kv_bytes_per_token(model, recipe.kv_cache.quantization, mapping),
        memory_share=recipe.kv_cache.fitted(recipe.target).memory_share,
    )


def _obstacle(form: Quantization, recipe: Recipe, model: Architecture, gpu: Gpu) -> str | None:
    if model.head_dim not in memory.HEAD_SIZES:
        return (
            f"its heads have {model.head_dim} dimensions, and TensorRT-LLM's attention has kernels for "
            f"{', '.join(map(str, memory.HEAD_SIZES))}"
        )
    tall, wide = memory.TILES.get(form, (1, 1))
    for outputs, inputs in memory.matrices(model, mapping_of(recipe).tensor):
        if outputs % tall or inputs % wide:
            return (
                f"{form} needs matrices whose outputs are multiples of {tall} and inputs of {wide} on every "
                f"rank, and one is {outputs} x {inputs}"
            )
    return gpu.obstacle(form, recipe.kv_cache.quantization)


def _shortage(budget: Budget, limits: Limits) -> str | None:
    if budget.sequences(limits.max_seq_len):
        return None
    taken = (
        f"of {gib(budget.visible)} the weights ({budget.quantization}) take {gib(budget.weights)}, "
        f"activations about {gib(budget.activations)} and buffers and CUDA about {gib(budget.others)}, which "
    )
    if budget.free < 0:
        return f"{taken}is {gib(-budget.free)} too much"
    needed = budget.kv_per_token * limits.max_seq_len
    share = gib(budget.free * budget.memory_share)
    one = f"one sequence of {limits.max_seq_len:,} tokens needs {gib(needed)}"
    return f"{taken}leaves {share} for the KV cache, but {one}"


def _candidates(recipe: Recipe, model: Architecture, limits: Limits) -> Iterator[Recipe]:
    """Recipes that give up more and more.

    First tokens in a step, then sequences, the form, the context, and last one GPU for several.
    """
    assert limits.max_num_tokens is not None
    plain = (form for form in get_args(Quantization) if form not in CALIBRATED)
    forms = [recipe.quantization, *(form for form in plain if form != recipe.quantization)]
    batches = [limits.max_batch_size, *(size for size in _BATCH_SIZES if size < limits.max_batch_size)]
    tokens = [limits.max_num_tokens, *(count for count in _NUM_TOKENS if count < limits.max_num_tokens)]
    lengths = [limits.max_seq_len]
    while lengths[-1] // 2 >= _SHORTEST:
        lengths.append(lengths[-1] // 2)
    tensors = [recipe.parallel.tensor, *(parts for parts in _TENSOR if parts > recipe.parallel.tensor)]
    for tensor in tensors:
        if not _possible(Mapping(tensor, recipe.parallel.pipeline), model):
            continue
        for length in lengths:
            for form in forms:
                for batch in batches:
                    for count in tokens:
                        candidate = _changed(recipe, tensor, length, form, batch, count)
                        if _consistent(candidate, model):
                            yield candidate


def _with_possible_cache(recipe: Recipe, gpu: Gpu) -> Recipe:
    """The recipe, with keys and values unquantised where the GPU has no kernels for what it says."""
    if gpu.obstacle("none", recipe.kv_cache.quantization) is None:
        return recipe
    cache = recipe.kv_cache.model_copy(update={"quantization": "none"})
    return recipe.model_copy(update={"kv_cache": cache})


def _possible(mapping: Mapping, model: Architecture) -> bool:
    try:
        mapping.check(model)
    except BuildError:
        return False
    return True


def _consistent(recipe: Recipe, model: Architecture) -> bool:
    try:
        recipe.limits_for(model.context)
    except RecipeError:
        return False
    return True


def _changed(
    recipe: Recipe,
    tensor: int,
    max_seq_len: int,
    form: Quantization,
    max_batch_size: int,
    max_num_tokens: int,
) -> Recipe:
    """The recipe with these values, and whatever else it had."""
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
        parallel.pop("gpus", None)  # they would no longer be as many
    values["quantization"] = form
    if form not in CALIBRATED and recipe.kv_cache.quantization == "none":
        values.pop("calibration", None)
    return Recipe.model_validate({key: values[key] for key in Recipe.model_fields if key in values})


def _way_out(recipe: Recipe, suggestion: Recipe | None, model: Architecture, gpu: Gpu) -> str:
    if suggestion:
        limits = suggestion.limits_for(model.context)
        count = _budget(suggestion, model, gpu, limits, suggestion.quantization).sequences(limits.max_seq_len)
        holds = f"{count:,} sequence{'s' if count > 1 else ''} of {limits.max_seq_len:,} tokens"
        changed = ", ".join(changes(recipe, suggestion, model.context))
        return f"the recipe that is printed fits, with {changed}, and holds {holds}"
    if model.head_dim not in memory.HEAD_SIZES:
        return "no recipe changes that"
    if gpu.obstacle("none"):
        return "take a newer GPU"
    candidates = _candidates(recipe, model, recipe.limits_for(model.context))
    smallest = min(candidates, key=lambda candidate: _needed(candidate, model, gpu))
    changed, needed = ", ".join(changes(recipe, smallest, model.context)), _needed(smallest, model, gpu)
    return f"no smaller form fits either: even {changed} needs GPUs of {gib(needed)}"


def _needed(recipe: Recipe, model: Architecture, gpu: Gpu) -> float:
    """Bytes of a GPU on which the engine has room for one sequence."""
    limits = recipe.limits_for(model.context)
    budget = _budget(recipe, model, gpu, limits, recipe.quantization)
    room = budget.kv_per_token * (limits.max_seq_len + memory.TOKENS_PER_BLOCK) / budget.memory_share
    return (budget.visible - budget.free + room) * gpu.memory / gpu.visible


def _gpus(recipe: Recipe, gpu: Gpu) -> str:
    return f"{mapping_of(recipe).world_size} x {gpu}" if mapping_of(recipe).world_size > 1 else str(gpu)


def _resolved(recipe: Recipe, context: int) -> dict[str, object]:
    """What a suggestion may change, with defaults filled in."""
    limits = recipe.limits_for(context).model_dump(exclude={"max_input_len"})
    return {
        "quantization": recipe.quantization,
        "kv_cache.quantization": recipe.kv_cache.quantization,
        **{f"limits.{key}": value for key, value in limits.items()},
        "parallel.tensor": recipe.parallel.tensor,
    }
