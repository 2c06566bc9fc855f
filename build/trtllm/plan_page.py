"""A plan on one screen, as `python -m build plan` prints it, or as JSON."""

from dataclasses import asdict
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from build.trtllm import memory
from build.trtllm.budget import Budget, gib
from build.trtllm.calibration import needs_calibration
from build.trtllm.plan import Plan
from slipway.contract.recipe import Recipe

_SHORT = 1024
_ESTIMATES = ("visible", "activations", "buffers", "communication", "context")


def show(plan: Plan, console: Console) -> None:
    """Print where the memory goes, what each quantization leaves, and, if needed, a recipe that fits."""
    console.print(f"[bold]{plan.recipe.name}[/bold] on [bold]{plan.gpu}[/bold]", highlight=False)
    console.print(_facts(plan), _quantizations(plan), sep="\n")
    for note in _notes(plan):
        console.print(f"Note: {note}", highlight=False, markup=False)
    if plan.suggestion:
        console.print("\n[bold]a recipe that fits[/bold]")
        console.print(_as_yaml(plan.suggestion), end="", highlight=False, markup=False, soft_wrap=True)


def as_json(plan: Plan) -> dict[str, Any]:
    """The content of the page, in bytes and tokens."""
    return {
        "name": plan.recipe.name,
        "fits": plan.refusal is None,
        "refusal": plan.refusal,
        "gpu": {
            "name": plan.gpu.name,
            "memory": plan.gpu.memory,
            "capability": plan.gpu.capability_text,
            "count": plan.recipe.parallel.world_size,
        },
        "quantization": plan.recipe.quantization,
        "limits": plan.limits.model_dump(),
        "budgets": [
            {
                **asdict(budget),
                "free": budget.free,
                "kv_bytes": budget.kv_bytes,
                "kv_tokens": budget.kv_tokens,
                "sequences": {length: budget.sequences(length) for length in _lengths(plan)},
                "needs_calibration": needs_calibration(
                    budget.quantization, plan.recipe.kv_cache.quantization
                ),
            }
            for budget in plan.budgets
        ],
        "estimated": _ESTIMATES,
        "notes": _notes(plan),
        "suggestion": plan.suggestion and plan.suggestion.model_dump(mode="json", exclude_unset=True),
    }


def _as_yaml(recipe: Recipe) -> str:
    """A recipe file without defaults."""
    values = recipe.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _notes(plan: Plan) -> list[str]:
    """What to know about the figures, one sentence or two each."""
    found = [
        "about: an estimate; TensorRT decides when it builds. Formulas and sources: build/trtllm/memory.py. "
        "Memory of other programs (a desktop: up to 1 GB) is not counted; give --gpu-memory for what is free."
    ]
    batch, count = plan.limits.max_batch_size, plan.chosen.sequences(plan.limits.max_seq_len)
    if plan.refusal is None and count < batch:
        found.append(
            f"max_batch_size is {batch}, and {count} sequences of {plan.limits.max_seq_len:,} tokens fit; "
            "more run when they are shorter, or wait."
        )
    if not plan.gpu.has_kernels(plan.recipe.quantization):
        found.append(
            f"NVIDIA lists no {plan.recipe.quantization} kernels for compute capability "
            f"{plan.gpu.capability_text} (features/quantization.md of TensorRT-LLM); try the build first, or "
            "give fp8 or none."
        )
    if plan.recipe.calibrated:
        found.append(
            "It is calibrated before it is built: `make setup-modelopt` once; then `python -m build convert` "
            "holds the whole model in memory and reads a text with it, faster with a GPU."
        )
    return found


def _facts(plan: Plan) -> Table:
    model, limits, budget = plan.model, plan.limits, plan.chosen
    world_size = plan.recipe.parallel.world_size
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    cards = f"{world_size} x " if world_size > 1 else ""
    share = f"{budget.memory_share:.0%}".replace("%", " %")
    cache = plan.recipe.kv_cache.quantization
    for name, value in (
        (
            "model",
            f"{model.layers} layers of {model.hidden_size:,}, vocabulary of {model.vocab_size:,} tokens",
        ),
        ("GPU", f"{cards}{gib(plan.gpu.memory)}, about {gib(budget.visible)} of it for CUDA"),
        ("compute capability", plan.gpu.capability_text),
        ("activations", f"about {gib(budget.activations)} for max_num_tokens {limits.max_num_tokens:,}"),
        (
            "buffers",
            f"about {gib(budget.buffers)} for max_batch_size {limits.max_batch_size:,} of max_seq_len "
            f"{limits.max_seq_len:,}",
        ),
        ("CUDA, libraries", f"about {gib(budget.context + budget.communication)}"),
        (
            "KV cache",
            f"{budget.kv_per_token / 1024:,.0f} KiB a token "
            f"({(plan.recipe.dtype or '16 bits') if cache == 'none' else cache}), {share} of the free memory "
            f"without {gib(memory.TRANSFER_BYTES)} for transfers",
        ),
    ):
        table.add_row(name, value)
    return table


def _quantizations(plan: Plan) -> Table:
    table = Table(title="per GPU" if plan.recipe.parallel.world_size > 1 else None, title_justify="left")
    table.add_column("quantization", style="cyan", no_wrap=True)
    table.add_column("weights", justify="right")
    table.add_column("KV cache", justify="right")
    table.add_column("tokens", justify="right")
    for length in _lengths(plan):
        table.add_column(f"sequences\nof {length:,}", justify="right")
    for budget in plan.budgets:
        chosen = budget.quantization == plan.recipe.quantization
        name = f"{budget.quantization} (recipe)" if chosen else budget.quantization
        table.add_row(name, gib(budget.weights), *_room(plan, budget), style="bold" if chosen else None)
    return table


def _room(plan: Plan, budget: Budget) -> list[str]:
    lengths = _lengths(plan)
    if budget.obstacle or not budget.kv_tokens:
        return ["no kernels" if budget.obstacle else "no room", *[""] * (1 + len(lengths))]
    counts = [f"{budget.sequences(length):,}" for length in lengths]
    return [gib(budget.kv_bytes), f"{budget.kv_tokens:,}", *counts]


def _lengths(plan: Plan) -> list[int]:
    return sorted({min(_SHORT, plan.limits.max_seq_len), plan.limits.max_seq_len})
