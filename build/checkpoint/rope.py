"""Rotary position embedding (rope) as config.json describes it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from slipway.contract.errors import CheckpointError

Kind = Literal["default", "linear", "llama3"]
_REMEDY = "take config.json from the base model"


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's scaling: high frequencies stay, low ones are divided by the factor, those between blend.

    original_context: positions the model was pre-trained with, before the scaling.
    """

    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True, slots=True)
class Rope:
    """theta: the base. factor: how far `linear` and `llama3` scale the positions; 1 for `default`."""

    kind: Kind
    theta: float
    factor: float = 1.0
    llama3: Llama3Scaling | None = None

    @classmethod
    def parse(cls, config: Mapping[str, Any], where: str) -> Self:
        """Read either spelling: `rope_theta` with `rope_scaling`, or transformers 5's `rope_parameters`.

        Raises CheckpointError when the base is missing (other programs then assume 10000), a value is not a
        number, or the kind of scaling is not supported.
        """
        parameters: dict[str, Any] = {}
        for key in ("rope_scaling", "rope_parameters"):
            given = config.get(key) or {}
            if not isinstance(given, Mapping):
                raise CheckpointError(f"{where} has {key} {given!r}, which is not an object; {_REMEDY}.")
            parameters |= given
        theta = parameters.get("rope_theta", config.get("rope_theta"))
        if theta is None:
            raise CheckpointError(
                f"{where} has no rope base, neither rope_theta nor rope_parameters.rope_theta; add the one "
                'the model was trained with (Llama 2: "rope_theta": 10000.0).'
            )
        kind = parameters.get("rope_type", parameters.get("type", "default"))
        if kind not in get_args(Kind):
            raise CheckpointError(
                f"{where} has rope scaling {kind!r}; supported are {', '.join(get_args(Kind))}."
            )

        def number(key: str) -> float:
            if key not in parameters:
                raise CheckpointError(f"{where} has rope scaling {kind!r} without {key}; {_REMEDY}.")
            return _positive(parameters[key], key, where)

        llama3 = None
        if kind == "llama3":
            low, high = number("low_freq_factor"), number("high_freq_factor")
            if low >= high:
                raise CheckpointError(
                    f"{where} has low_freq_factor {low:g}, which must be below high_freq_factor {high:g}; "
                    f"{_REMEDY}."
                )
            llama3 = Llama3Scaling(low, high, int(number("original_max_position_embeddings")))
        factor = 1.0 if kind == "default" else number("factor")
        return cls(kind, _positive(theta, "rope_theta", where), factor, llama3)

    def frequencies(self, head_dim: int) -> npt.NDArray[np.float64]:
        """Radians per position of each pair of a head's dimensions, [head_dim / 2].

        Source: RoFormer (arXiv 2104.09864); scalings as in transformers, modeling_rope_utils.py.
        """
        exponents = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
        plain: npt.NDArray[np.float64] = self.theta**-exponents
        if self.llama3 is None:
            return plain / self.factor
        turns = self.llama3.original_context * plain / (2 * math.pi)
        low, high = self.llama3.low_freq_factor, self.llama3.high_freq_factor
        kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
        return kept * plain + (1 - kept) * plain / self.factor

    def tables(
        self, positions: int, head_dim: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Cosines and sines of the first positions, each [positions, head_dim / 2]."""
        angles = np.outer(np.arange(positions), self.frequencies(head_dim))
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def scaling(self) -> dict[str, Any] | None:
        """The scaling of positions in the words of transformers 4 and TensorRT-LLM; None without one."""
        if self.kind == "default":
            return None  # TensorRT-LLM does not know the kind `default`
        values: dict[str, Any] = {"rope_type": self.kind, "factor": self.factor}
        if self.llama3 is not None:
            values |= {
                "low_freq_factor": self.llama3.low_freq_factor,
                "high_freq_factor": self.llama3.high_freq_factor,
                "original_max_position_embeddings": self.llama3.original_context,
            }
        return values

    def __str__(self) -> str:
        scaling = "" if self.kind == "default" else f", {self.kind} scaling by {self.factor:g}"
        return f"base {self.theta:g}{scaling}"


def _positive(value: Any, key: str, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise CheckpointError(f"{where} has {key} {value!r}, which must be a number above 0; {_REMEDY}.")
    return number
