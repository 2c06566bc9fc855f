"""How the ranks of an engine share a model, and which shares are possible.

A rank is one GPU. Ranks count the pipeline first: rank = stage * tensor + part (tensorrt_llm/mapping.py).
"""

from build.checkpoint.architecture import Architecture
from slipway.contract.errors import BuildError
from slipway.contract.recipe import Parallel


def layers_of(parallel: Parallel, model: Architecture, stage: int) -> range:
    """The layers of one pipeline stage."""
    count = model.layers // parallel.pipeline
    return range(stage * count, (stage + 1) * count)


def check_parallel(parallel: Parallel, model: Architecture) -> None:
    """Raise BuildError, with the numbers that are possible, when the ranks cannot share `model`.

    Ranks may outnumber the heads for keys and values: then several ranks have the same head.
    """
    reason = _obstacle(model, parallel.tensor)
    if reason is not None:
        raise BuildError(
            f"A tensor parallelism of {parallel.tensor} does not suit the model: {reason}; give "
            f"{_list([n for n in range(1, model.heads + 1) if _obstacle(model, n) is None])}."
        )
    if model.layers % parallel.pipeline:
        raise BuildError(
            f"A pipeline parallelism of {parallel.pipeline} does not suit the model: {model.layers} layers "
            "cannot be divided evenly; give "
            f"{_list([n for n in range(1, model.layers + 1) if model.layers % n == 0])}."
        )


def _obstacle(model: Architecture, parts: int) -> str | None:
    if model.heads % parts:
        return f"{model.heads} attention heads cannot be divided evenly among {parts} ranks"
    if model.kv_heads % parts and parts % model.kv_heads:
        return f"{model.kv_heads} heads for keys and values neither divide by {parts} ranks nor divide them"
    if model.intermediate_size % parts:
        return f"intermediate_size {model.intermediate_size} cannot be divided into {parts} parts"
    return None


def _list(numbers: list[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last
