"""The tensors of a checkpoint, memory-mapped, in one safetensors file or many; opened by `checkpoint`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  registers bfloat16 with NumPy, without which safetensors cannot hand it out
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from build import json_file
from engines.errors import CheckpointError

INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pth", ".pt")
_ITEM_SIZES = {"BF16": 2, "F16": 2, "F32": 4}
_CHUNK = 64 << 20


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor is, and what its header says. dtype: safetensors' name, one of BF16, F16, F32."""

    file: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * _ITEM_SIZES[self.dtype]


class Weights:
    """tensors: every tensor, by name; opening reads headers only, `read` one tensor at a time."""

    def __init__(self, directory: Path) -> None:
        """Open every shard; raises CheckpointError for one that is missing, cut off or not in the index."""
        self.directory = directory
        named = _index(directory)
        self.files = sorted(set(named.values())) if named is not None else [_only_file(directory)]
        self._shards = {name: _open(directory / name) for name in self.files}
        self.tensors = {
            tensor: _header(directory / name, shard, tensor)
            for name, shard in self._shards.items()
            for tensor in shard.keys()  # noqa: SIM118  not a mapping
        }
        if named is not None:
            self._check_index(named)
            self.files.append(INDEX)

    def read(self, name: str) -> npt.NDArray[Any]:
        """One tensor, copied into memory, in its own dtype (bfloat16 is ml_dtypes')."""
        array: npt.NDArray[Any] = self._shards[self.tensors[name].file].get_tensor(name)
        return array

    def non_finite(self) -> Iterator[tuple[int, str | None]]:
        """Read all tensors in pieces of up to 64 MiB (or one row): yields bytes read, and the name if bad."""
        for name, tensor in self.tensors.items():
            rows = self._shards[tensor.file].get_slice(name)
            step = max(1, _CHUNK * tensor.shape[0] // tensor.size)
            for start in range(0, tensor.shape[0], step):
                piece = rows[start : min(start + step, tensor.shape[0])]
                yield piece.nbytes, None if np.isfinite(piece).all() else name

    def _check_index(self, named: dict[str, str]) -> None:
        for tensor, file in named.items():
            held = self.tensors.get(tensor)
            if held is None or held.file != file:
                raise CheckpointError(
                    f"{self.directory / INDEX} says that {tensor} is in {file}, which does not hold it; the "
                    "shards and the index are from different saves: copy them all again."
                )
        for tensor, held in self.tensors.items():
            if tensor not in named:
                raise CheckpointError(
                    f"{self.directory / held.file} holds {tensor}, which {INDEX} does not list; the shards "
                    "and the index are from different saves: copy them all again."
                )


def _index(directory: Path) -> dict[str, str] | None:
    path = directory / INDEX
    if not path.is_file():
        return None
    named = json_file.read(path).get("weight_map")
    if not isinstance(named, dict):
        raise CheckpointError(f"{path} has no weight_map; copy or download it again.")
    return {str(tensor): str(file) for tensor, file in named.items()}


def _only_file(directory: Path) -> str:
    found = sorted(path.name for path in directory.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(
            f"{directory} has {len(found)} safetensors files ({found[0]}, …) but no {INDEX} that says which "
            "tensor is where; copy it too."
        )
    for path in sorted(directory.iterdir()):
        if path.suffix in _PICKLES:
            raise CheckpointError(
                f"{path} is a pickle, and loading a pickle runs whatever code is in it; save the model as "
                "safetensors where you trust it: "
                "AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)."
            )
    raise CheckpointError(
        f"{directory} holds no *.safetensors; a checkpoint is the folder that save_pretrained writes."
    )


def _open(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing, but {INDEX} names it; copy or download it again.")
    with path.open("rb") as stream:
        if stream.read(20) == b"version https://git-":
            raise CheckpointError(
                f"{path} is a Git LFS pointer, not the weights; fetch them with `git lfs pull`."
            )
    try:
        return safe_open(path, framework="np")
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is cut off or damaged ({path.stat().st_size} bytes; {error}); copy or download it again."
        ) from None


def _header(path: Path, shard: Any, name: str) -> Tensor:
    entry = shard.get_slice(name)
    if entry.get_dtype() not in _ITEM_SIZES:
        raise CheckpointError(
            f"{path}: {name} is {entry.get_dtype()}; supported are {', '.join(_ITEM_SIZES)}: give the "
            "unquantised checkpoint."
        )
    return Tensor(path.name, tuple(entry.get_shape()), entry.get_dtype())
