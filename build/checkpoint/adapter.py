"""A LoRA adapter as peft saves it: opened lazily, its files checked against each other.

Formats and formulas: huggingface/peft, src/peft/tuners/lora (LoRA: Hu et al. 2021, arXiv:2106.09685; rank-
stabilised: Kalajdzievski 2023, arXiv:2312.03732; DoRA: Liu et al. 2024, arXiv:2402.09353).
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from build.checkpoint import json_file
from build.checkpoint.weights import Weights
from slipway.contract.errors import CheckpointError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
# peft puts the adapter's name into some of these.
_MATRIX = re.compile(r"(?P<module>.+)\.lora_(?:embedding_)?(?P<part>[AB])(?:\.default)?(?:\.weight)?")
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(?:\.default)?(?:\.weight)?")
_BASE_LAYER = ".base_layer."
# Values of init_lora_weights that change the base before training starts. Merged into the original base, such
# an adapter gives a wrong model. peft can convert it on saving (path_initial_model_for_weight_conversion).
_CHANGE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")

FloatArray = npt.NDArray[np.float32]


class _Config(BaseModel):
    """The keys of adapter_config.json that decide the result; defaults are peft's."""

    model_config = ConfigDict(extra="ignore")

    peft_type: str
    base_model_name_or_path: str | None = None
    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, float] = {}
    init_lora_weights: bool | str = True
    modules_to_save: list[str] | None = None
    ensure_weight_tying: bool = False
    lora_bias: bool = False
    layer_replication: list[Any] | None = None
    alora_invocation_tokens: list[int] | None = None
    use_qalora: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """The change of a matrix [outputs, inputs].

    left: [outputs, rank], scaled. right: [rank, inputs]. magnitude: [outputs], the length of each row of the
    sum (DoRA), or None.
    """

    left: FloatArray
    right: FloatArray
    magnitude: FloatArray | None

    def apply(self, first: int, rows: FloatArray) -> FloatArray:
        """The rows of the matrix from `first` on, with the change added."""
        part = slice(first, first + len(rows))
        total = rows + self.left[part] @ self.right
        if self.magnitude is None:
            return total
        lengths = np.linalg.norm(total, axis=1)
        scaled: FloatArray = total * (self.magnitude[part] / lengths)[:, None]
        return scaled


@dataclass(frozen=True, slots=True)
class Adapter:
    """A folder with adapter_config.json and adapter_model.safetensors.

    deltas: peft's name of the adapted module, by tensor of the base. replaced: the adapter's tensor, by the
    tensor of the base that it replaces. copies: replaced tensors that were trained as copies; another layer
    that shares the base's tensor keeps the original.
    keeps_tied: an output layer that is the embedding was trained as one matrix with it.
    """

    directory: Path
    weights: Weights
    deltas: dict[str, str]
    replaced: dict[str, str]
    copies: frozenset[str]
    keeps_tied: bool
    _config: _Config
    _parts: dict[tuple[str, str], str]

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read everything but the numbers.

        Raises CheckpointError when the folder is not an adapter, or one that cannot be merged.
        """
        config = _read_config(directory)
        if not (directory / WEIGHTS).is_file():
            raise CheckpointError(
                f"{directory / WEIGHTS} is missing; save the adapter as safetensors: "
                "model.save_pretrained(DIR) of a recent peft does."
            )
        weights = Weights(directory, file=WEIGHTS)
        parts: dict[tuple[str, str], str] = {}
        replaced: dict[str, str] = {}
        copies = set()
        for name in weights.tensors:
            inner = name.removeprefix(_PREFIX)
            if found := _MATRIX.fullmatch(inner):
                parts[found["module"], found["part"]] = name
            elif found := _MAGNITUDE.fullmatch(inner):
                parts[found["module"], "magnitude"] = name
            else:
                target = inner.replace(_BASE_LAYER, ".")
                replaced[target] = name
                kind = target.rpartition(".")[0].rpartition(".")[2]
                if _BASE_LAYER not in inner and kind in (config.modules_to_save or ()):
                    copies.add(target)
        if not weights.tensors:
            raise CheckpointError(
                f"{directory / WEIGHTS} holds no tensors; save the adapter again (with DeepSpeed ZeRO 3, "
                "gather the weights first)."
            )
        modules = {module for module, _ in parts}
        for module in modules:
            for part in ("A", "B", *(("magnitude",) if config.use_dora else ())):
                if (module, part) not in parts:
                    lacking = "lora_magnitude_vector" if part == "magnitude" else f"lora_{part}"
                    raise CheckpointError(
                        f"{directory / WEIGHTS} has no {lacking} of {module}; save the adapter again."
                    )
        deltas = {f"{module}.weight": module for module in sorted(modules)}
        return cls(
            directory, weights, deltas, replaced, frozenset(copies), config.ensure_weight_tying, config, parts
        )

    def delta(self, tensor: str) -> Delta:
        """Read the change of a tensor of the base, a key of `deltas`."""
        module = self.deltas[tensor]
        first, second = self._matrix(module, "A"), self._matrix(module, "B")
        scale = self._scale(module, rank=len(first))
        if self._is_embedding(module):
            first, second = second.T, first.T
        magnitude = self._matrix(module, "magnitude") if (module, "magnitude") in self._parts else None
        return Delta(
            np.ascontiguousarray(second) * np.float32(scale),
            np.ascontiguousarray(first),
            None if magnitude is None else magnitude.reshape(-1),
        )

    def delta_shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of the change of a tensor. Raises CheckpointError when its parts do not fit together."""
        module = self.deltas[tensor]
        shapes = [self.weights.tensors[self._parts[module, part]].shape for part in ("A", "B")]
        if any(len(shape) != 2 for shape in shapes):
            raise CheckpointError(
                f"{self.directory / WEIGHTS}: lora_A and lora_B of {module} are {shapes}, not matrices; save "
                "the adapter again (with DeepSpeed ZeRO 3, gather the weights first)."
            )
        (rank, inputs), (outputs, other) = shapes
        if rank != other:
            raise CheckpointError(
                f"{self.directory / WEIGHTS}: lora_A of {module} has rank {rank} and lora_B {other}; save "
                "the adapter again."
            )
        ranks = {self._config.r, *self._config.rank_pattern.values()}
        if rank not in ranks:  # the scale is divided by it
            raise CheckpointError(
                f"{self.directory / WEIGHTS} has {module} with rank {rank}, but {CONFIG} says "
                f"{' or '.join(map(str, sorted(ranks)))}; take both from one save."
            )
        return (inputs, outputs) if self._is_embedding(module) else (outputs, inputs)

    @property
    def base_name(self) -> str | None:
        """Name of the model that it was trained on, as its config says."""
        return self._config.base_model_name_or_path

    def _is_embedding(self, module: str) -> bool:
        """Whether the module is an embedding [rows, width]: then A is [rank, rows] and B [width, rank]."""
        return "lora_embedding_A" in self._parts[module, "A"]

    def _matrix(self, module: str, part: str) -> FloatArray:
        matrix: FloatArray = self.weights.read(self._parts[module, part]).astype(np.float32)
        return matrix

    def _scale(self, module: str, rank: int) -> float:
        alpha = next(
            (
                value
                for pattern, value in self._config.alpha_pattern.items()
                if re.fullmatch(rf"(.*\.)?({pattern})", module)
            ),
            self._config.lora_alpha,
        )
        return alpha / (math.sqrt(rank) if self._config.use_rslora else rank)


def _read_config(directory: Path) -> _Config:
    path = directory / CONFIG
    if not path.is_file():
        raise CheckpointError(
            f"{directory} is not an adapter (it has no {CONFIG}); an adapter is the folder that "
            "PeftModel.save_pretrained writes."
        )
    values = json_file.read(path)
    try:
        config = _Config.model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path} is wrong at {key} ({first['msg']}); save the adapter again.") from None
    for pattern in config.alpha_pattern:
        try:
            re.compile(pattern)
        except re.error as error:
            raise CheckpointError(
                f"{path} has {pattern!r} in alpha_pattern, which is not a regular expression ({error}); save "
                "the adapter again."
            ) from None
    remedy = "merge it with peft itself: PeftModel.merge_and_unload(), then save_pretrained"
    if config.peft_type != "LORA":
        raise CheckpointError(f"{path} has peft_type {config.peft_type}; only LORA is merged here: {remedy}.")
    if str(config.init_lora_weights).lower().startswith(_CHANGE_BASE):
        raise CheckpointError(
            f"{path} has init_lora_weights {config.init_lora_weights!r}: the training changed the base "
            "first, so the adapter does not fit the original base. Save it again with "
            "path_initial_model_for_weight_conversion, which makes a plain adapter; or, if your base is the "
            "changed one, set init_lora_weights to true."
        )
    for key, what in (
        ("lora_bias", "a bias of its own"),
        ("layer_replication", "layers that the base does not have"),
        ("alora_invocation_tokens", "an effect on some of a prompt's tokens only"),
        ("use_qalora", "groups of inputs"),
    ):
        if getattr(config, key):
            raise CheckpointError(f"{path} has {key}, which gives it {what}; if peft can, {remedy}.")
    return config
