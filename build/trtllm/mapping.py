"""How a model is shared by several GPUs, and which shares are possible; read by `convert` and `rank_tensors`.

Ranks count the pipeline first: rank = stage * tensor + part (tensorrt_llm/mapping.py).
"""

from dataclasses import dataclass

from build.checkpoint.architecture import Architecture
from slipway.contract.errors import BuildError


@dataclass(frozen=True, slots=True)
class Mapping:
    """tensor: parts that each matrix is cut into. pipeline: stages that the layers are dealt out to."""

    tensor: int = 1
    pipeline: int = 1

    @property
    def world_size(self) -> int:
        """Ranks, one GPU each."""
        return self.tensor * self.pipeline

    def layers(self, model: Architecture, stage: int) -> range:
        """The layers of one stage."""
        count = model.layers // self.pipeline
        return range(stage * count, (stage + 1) * count)

    def check(self, model: Architecture) -> None:
        """Raises BuildError with the numbers, and those that would do, when `model` cannot be shared so.

        Key and value heads fewer than the parts are no obstacle: each goes to several ranks.
        """
        reason = _obstacle(model, self.tensor)
        if reason is not None:
            raise BuildError(
                f"A tensor parallelism of {self.tensor} does not suit the model: {reason}; give "
                f"{_listed([n for n in range(1, model.heads + 1) if _obstacle(model, n) is None])}."
            )
        if model.layers % self.pipeline:
            raise BuildError(
                f"A pipeline parallelism of {self.pipeline} does not suit the model: {model.layers} layers "
                "cannot be dealt out evenly; give "
                f"{_listed([n for n in range(1, model.layers + 1) if model.layers % n == 0])}."
            )


def _obstacle(model: Architecture, parts: int) -> str | None:
    if model.heads % parts:
        return f"{model.heads} attention heads cannot be dealt out evenly to {parts} ranks"
    if model.kv_heads % parts and parts % model.kv_heads:
        return f"{model.kv_heads} heads for keys and values neither divide by {parts} ranks nor divide these"
    if model.intermediate_size % parts:
        return f"intermediate_size {model.intermediate_size} cannot be cut into {parts} parts"
    return None


def _listed(numbers: list[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last
