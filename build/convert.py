"""From a merged Hugging Face checkpoint to one that trtllm-build reads; called by the command.

Every number passes once, in pieces of 1 MiB or a row, from the checkpoint to the files of all ranks that
hold it, so that memory depends neither on the model nor on the number of ranks.
"""

import json
import re
import shutil
from collections import Counter, defaultdict
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from build import progress, trtllm_config
from build.checkpoint import Checkpoint
from build.destination import Destination
from build.mapping import Mapping
from build.rank_tensors import PROJECTIONS, Block, RankTensor, rank_tensors
from build.tensor_file import TensorFile
from build.trtllm_config import Form
from build.weights import DTYPES
from engines.errors import BuildError, CheckpointError

Dtype = Literal["bfloat16", "float16"]
_STORED: dict[Dtype, str] = {"bfloat16": "BF16", "float16": "F16"}
# Bits of the exponent; where all are set, the number is NaN or infinity (IEEE 754).
_EXPONENTS: dict[Dtype, int] = {"bfloat16": 0x7F80, "float16": 0x7C00}
# Weight-only kernels take the weights in tiles of this many (cutlass_preprocessors.cpp).
_TILE = 64
_RANK_FILE = re.compile(r"rank\d+\.safetensors")


def convert(directory: Path, output: Path, form: Form, dtype: Dtype | None, mapping: Mapping) -> str:
    """Write `output`/config.json and rank0.safetensors, rank1…, and say what was done.

    form: what trtllm-build is to quantise the projections to; the weights are written unquantised, because
    the quantised layout differs from GPU to GPU. dtype: None follows the checkpoint. Raises SlipwayError,
    and nothing is put in place, when the checkpoint, the sharing or the numbers do not allow it; all but the
    numbers is checked before anything is written.
    """
    checkpoint = Checkpoint.open(directory)
    model = checkpoint.architecture
    mapping.check(model)
    ranks = [list(rank_tensors(model, mapping, rank)) for rank in range(mapping.world_size)]
    if form != "none":
        _check_tiles(ranks[0], form, mapping)
    _check_replaceable(output)
    dtype = dtype or _native(checkpoint)
    size = 2 * sum(prod(tensor.shape) for tensors in ranks for tensor in tensors)
    _check_room(output, size)
    for hint in checkpoint.hints():
        progress.say(f"Note: {hint}")
    destination = Destination(output)
    with destination.locked(), destination.workplace() as work:
        made = work / "checkpoint"
        made.mkdir()
        _write_tensors(checkpoint, ranks, dtype, made)
        values = trtllm_config.config(model, mapping, form, dtype)
        (made / trtllm_config.FILE_NAME).write_text(json.dumps(values, indent=2), encoding="utf-8")
        destination.put(made)
    algorithm = values["quantization"]["quant_algo"]
    later = f", which trtllm-build will quantise ({algorithm})" if algorithm else ""
    files = "1 rank" if len(ranks) == 1 else f"{len(ranks)} ranks"
    return f"{output} is ready: {size / 1e6:,.0f} MB of {dtype} in {files}{later}."


def _write_tensors(
    checkpoint: Checkpoint, ranks: list[list[RankTensor]], dtype: Dtype, directory: Path
) -> None:
    takers: dict[str, list[tuple[TensorFile, str, int, Block]]] = defaultdict(list)
    with ExitStack() as files:
        for rank, tensors in enumerate(ranks):
            shapes = {tensor.name: tensor.shape for tensor in tensors}
            path = directory / f"rank{rank}.safetensors"
            file = files.enter_context(TensorFile(path, _STORED[dtype], shapes))
            for tensor in tensors:
                row = 0
                for block in tensor.blocks:
                    takers[block.source].append((file, tensor.name, row, block))
                    row += len(block.rows)
        sources = [name for name in checkpoint.weights.tensors if name in takers]  # in the files' order
        total = sum(checkpoint.weights.tensors[name].size for name in sources)
        with progress.step("Converting", total, "bytes") as advance:
            for source in sources:
                for first, piece in checkpoint.weights.pieces(source):
                    numbers = _cast(piece, dtype, checkpoint, source)
                    for file, name, row, block in takers[source]:
                        start = max(block.rows.start, first)
                        stop = min(block.rows.stop, first + len(piece))
                        if start < stop:
                            taken = numbers[start - first : stop - first]
                            if block.columns is not None:
                                taken = taken[:, block.columns.start : block.columns.stop]
                            file.write(name, row + start - block.rows.start, taken)
                    advance(piece.nbytes)


def _cast(piece: npt.NDArray[Any], dtype: Dtype, checkpoint: Checkpoint, source: str) -> npt.NDArray[Any]:
    """Round to `dtype`, nearest even, and check that all numbers are finite before and after."""
    with np.errstate(over="ignore"):
        numbers = piece.astype(DTYPES[_STORED[dtype]], copy=False)
    exponents = numbers.view(np.uint16) & _EXPONENTS[dtype]
    if exponents.max() < _EXPONENTS[dtype]:
        return numbers
    if dtype == "bfloat16" or not np.isfinite(piece).all():  # bfloat16 has the range of fp32
        raise checkpoint.not_finite(source)
    largest = np.abs(piece.astype(np.float64)).max()
    raise CheckpointError(
        f"{checkpoint.directory / checkpoint.weights.tensors[source].file}: {source} holds {largest:.3g}, "
        f"which {dtype} cannot hold; give --dtype bfloat16."
    )


def _native(checkpoint: Checkpoint) -> Dtype:
    """The dtype of most tensors; fp32 becomes bfloat16, which has its range."""
    dtypes = Counter(tensor.dtype for tensor in checkpoint.weights.tensors.values())
    return "float16" if dtypes.most_common(1)[0][0] == "F16" else "bfloat16"


def _check_tiles(tensors: list[RankTensor], form: Form, mapping: Mapping) -> None:
    for tensor in tensors:
        if tensor.name.endswith(tuple(f"{name}.weight" for name in PROJECTIONS)) and any(
            side % _TILE for side in tensor.shape
        ):
            raise BuildError(
                f"--quantization {form} does not suit the model: {tensor.name} is {list(tensor.shape)} on "
                f"each of {mapping.tensor} tensor-parallel ranks, and weight-only kernels need multiples of "
                f"{_TILE}; give --quantization none"
                + (" or a smaller --tensor-parallel." if mapping.tensor > 1 else ".")
            )


def _check_replaceable(output: Path) -> None:
    """A folder that holds anything but a converted checkpoint is somebody's work."""
    if not output.exists():
        return
    if not output.is_dir():
        raise BuildError(f"{output} is a file; name a folder to write.")
    held = sorted(path.name for path in output.iterdir())
    converted = "rank0.safetensors" in held
    for name in held:
        if not converted or (name != trtllm_config.FILE_NAME and not _RANK_FILE.fullmatch(name)):
            raise BuildError(
                f"{output} holds {name}, so it is no converted checkpoint that may be replaced; name "
                "another folder."
            )


def _check_room(output: Path, size: int) -> None:
    parent = next(path for path in output.absolute().parents if path.exists())
    free = shutil.disk_usage(parent).free
    if free < size:
        raise BuildError(
            f"The converted checkpoint takes {size / 1e6:,.0f} MB and {parent} has {free / 1e6:,.0f} MB "
            "free; make room or name a folder on another disk."
        )
