"""The tensors of a checkpoint, in one safetensors file or several."""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from build.checkpoint import json_file
from slipway.contract.errors import CheckpointError

SINGLE = "model.safetensors"
INDEX = f"{SINGLE}.index.json"
_PICKLES = (".bin", ".pth", ".pt")
DTYPES: dict[str, npt.DTypeLike] = {"BF16": ml_dtypes.bfloat16, "F16": np.float16, "F32": np.float32}
# Also the dtypes of quantized weights, which the checkpoint of a build must not have.
ALL_DTYPES: dict[str, npt.DTypeLike] = {**DTYPES, "I8": np.int8, "F8_E4M3": ml_dtypes.float8_e4m3fn}
_TORCH_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
# Bytes that stay in a core's cache from one step to the next; with 16 MiB a conversion took about twice the
# processor time.
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Tensor:
    """The header of one tensor. dtype: safetensors' name, a key of ALL_DTYPES. start: offset in the file."""

    file: str
    shape: tuple[int, ...]
    dtype: str
    start: int

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * np.dtype(ALL_DTYPES[self.dtype]).itemsize


class Weights:
    """tensors: every tensor, by name; opening reads headers only, `read` one tensor at a time."""

    def __init__(self, directory: Path, dtypes: Collection[str] = DTYPES, file: str | None = None) -> None:
        """Open every shard, or only `file`.

        dtypes: allowed dtypes, as safetensors names them. Raises CheckpointError for a shard that is missing,
        cut off, not in the index, or has another dtype.
        """
        self.directory = directory
        named = None if file else _index(directory)
        self.files = sorted(set(named.values())) if named is not None else [file or _only_file(directory)]
        self._shards = {name: _open(directory / name) for name in self.files}
        self.tensors = {
            name: tensor
            for file in self._shards
            for name, tensor in _header(directory / file, dtypes).items()
        }
        if named is not None:
            self._check_index(named)
            self.files.append(INDEX)

    @property
    def dtype(self) -> str:
        """The dtype of most unquantized tensors, as torch names it."""
        dtypes = Counter(tensor.dtype for tensor in self.tensors.values() if tensor.dtype in DTYPES)
        return _TORCH_NAMES[dtypes.most_common(1)[0][0]]

    def read(self, name: str) -> npt.NDArray[Any]:
        """One tensor, copied into memory, in its own dtype (bfloat16 is ml_dtypes')."""
        array: npt.NDArray[Any] = self._shards[self.tensors[name].file].get_tensor(name)
        return array

    def pieces(self, name: str) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield one tensor in pieces of whole rows, at most 1 MiB or one row: (first row, piece).

        The next piece overwrites the one before it. Pieces are read, not mapped, because pages of a mapped
        file count as the process's memory.
        Raises CheckpointError when the file became shorter since it was opened.
        """
        tensor = self.tensors[name]
        dtype = np.dtype(ALL_DTYPES[tensor.dtype])
        rows = tensor.shape[0]
        step = min(rows, max(1, _PIECE * rows // tensor.size))
        buffer = np.empty((step, *tensor.shape[1:]), dtype)
        path = self.directory / tensor.file
        with path.open("rb") as stream:
            stream.seek(tensor.start)
            for first in range(0, rows, step):
                piece = buffer[: rows - first]
                if stream.readinto(piece.reshape(-1).view(np.uint8).data) != piece.nbytes:
                    raise CheckpointError(
                        f"{path} became shorter while it was read; copy or download it again."
                    )
                yield first, piece

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
    files = {str(tensor): str(file) for tensor, file in named.items()}
    if (directory / SINGLE).is_file() and SINGLE not in files.values():
        raise CheckpointError(
            f"{directory} has both {SINGLE}, which transformers reads, and shards with an {INDEX}: two saves "
            "in one folder; remove the one you do not want."
        )
    return files


def _only_file(directory: Path) -> str:
    found = sorted(path.name for path in directory.glob("*.safetensors"))
    if len(found) == 1 or SINGLE in found:
        return SINGLE if SINGLE in found else found[0]
    if found:
        raise CheckpointError(
            f"{directory} has {len(found)} safetensors files ({found[0]}, …) but no {INDEX} that says which "
            "tensor is where; copy it too."
        )
    for path in sorted(directory.iterdir()):
        if path.suffix in _PICKLES:
            raise CheckpointError(
                f"{path} is a pickle, and loading a pickle runs any code that is in it; save the model as "
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


def _header(path: Path, dtypes: Collection[str]) -> dict[str, Tensor]:
    """The tensors of a file; safetensors has opened it, so it is well-formed."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        entries = json.loads(stream.read(length))
    entries.pop("__metadata__", None)
    for name, entry in entries.items():
        if entry["dtype"] not in dtypes:
            raise CheckpointError(
                f"{path}: {name} is {entry['dtype']}; supported are {', '.join(dtypes)}: give the "
                "unquantized checkpoint."
            )
    return {
        name: Tensor(path.name, tuple(entry["shape"]), entry["dtype"], 8 + length + entry["data_offsets"][0])
        for name, entry in entries.items()
    }
