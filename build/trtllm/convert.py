"""From a merged Hugging Face checkpoint to one that trtllm-build reads; called by the command.

What is quantised by a calibration comes from `calibration`, everything else from the checkpoint.

Every number passes once, in pieces of 1 MiB or a row, from the checkpoint to the files of all ranks that
hold it, so that memory depends neither on the model nor on the number of ranks.
"""

import json
import re
from collections import Counter, defaultdict
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from build import progress
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.weights import ALL_DTYPES, DTYPES, Weights
from build.destination import Destination, check_room
from build.trtllm import calibration
from build.trtllm import config as trtllm_config
from build.trtllm.calibration import Calibration
from build.trtllm.mapping import Mapping
from build.trtllm.memory import TILES
from build.trtllm.rank_tensors import PROJECTIONS, Block, RankTensor, rank_tensors
from build.trtllm.tensor_file import TensorFile
from slipway.contract.errors import BuildError, CheckpointError
from slipway.contract.quantization import CALIBRATED, CacheQuantization, Quantization
from slipway.contract.recipe import Dtype

_STORED: dict[Dtype, str] = {"bfloat16": "BF16", "float16": "F16"}
# Bits of the exponent; where all are set, the number is NaN or infinity (IEEE 754).
_EXPONENTS: dict[Dtype, int] = {"bfloat16": 0x7F80, "float16": 0x7C00}
_RANK_FILE = re.compile(r"rank\d+\.safetensors")


def convert(
    directory: Path,
    output: Path,
    form: Quantization,
    dtype: Dtype | None,
    mapping: Mapping,
    cache: CacheQuantization = "none",
    text: Calibration | None = None,
) -> str:
    """Write `output`/config.json and rank0.safetensors, rank1…, and say what was done.

    form: of the projections. With int8 and int4 the weights are written unquantised, because the layout that
    trtllm-build gives them differs from GPU to GPU; int4-awq, int8-sq and fp8, and a `cache` that is not
    none, are calibrated first, on `text`. dtype: None follows the checkpoint. Raises SlipwayError, and
    nothing is put in place, when the checkpoint, the sharing, the calibration or the numbers do not allow
    it; all but the numbers is checked before anything is written or calibrated.
    """
    checkpoint = Checkpoint.open(directory)
    model = checkpoint.architecture
    mapping.check(model)
    _check_tiles(list(rank_tensors(model, mapping, 0)), form, mapping)
    ranks = [list(rank_tensors(model, mapping, rank, form, cache)) for rank in range(mapping.world_size)]
    _check_replaceable(output)
    dtype = dtype or native(checkpoint)
    size = sum(
        prod(tensor.shape) * np.dtype(ALL_DTYPES[tensor.dtype or _STORED[dtype]]).itemsize
        for tensors in ranks
        for tensor in tensors
    )
    check_room(output, size, "converted checkpoint")
    run = None
    if calibration.needed(form, cache):
        run = calibration.Run.of(checkpoint, form, cache, dtype, text or Calibration())
    for hint in checkpoint.hints():
        progress.say(f"Note: {hint}")
    destination = Destination(output)
    with destination.locked():
        calibrated = run.obtain() if run else None
        with destination.workplace() as work:
            made = work / "checkpoint"
            made.mkdir()
            _write_tensors(checkpoint, calibrated, ranks, dtype, made)
            values = trtllm_config.config(model, mapping, form, cache, dtype)
            (made / trtllm_config.FILE_NAME).write_text(json.dumps(values, indent=2), encoding="utf-8")
            destination.put(made)
    return f"{output} is ready: {_described(size, dtype, len(ranks), form, cache, values['quantization'])}."


def _described(
    size: int,
    dtype: Dtype,
    ranks: int,
    form: Quantization,
    cache: CacheQuantization,
    quantization: dict[str, Any],
) -> str:
    algorithm = quantization["quant_algo"]
    weights = f"{algorithm}, the rest {dtype}," if form in CALIBRATED else f"{dtype}"
    described = f"{size / 1e6:,.0f} MB of {weights} in {'1 rank' if ranks == 1 else f'{ranks} ranks'}"
    if algorithm and form not in CALIBRATED:
        described += f", which trtllm-build will quantise ({algorithm})"
    return described if cache == "none" else f"{described}, with scales for a KV cache in {cache}"


def _write_tensors(
    checkpoint: Checkpoint,
    calibrated: Weights | None,
    ranks: list[list[RankTensor]],
    dtype: Dtype,
    directory: Path,
) -> None:
    takers: dict[str, list[tuple[TensorFile, str, int, Block]]] = defaultdict(list)
    with ExitStack() as files:
        for rank, tensors in enumerate(ranks):
            held = [(tensor.name, tensor.dtype or _STORED[dtype], tensor.shape) for tensor in tensors]
            file = files.enter_context(TensorFile(directory / f"rank{rank}.safetensors", held))
            for tensor in tensors:
                row = 0
                for block in tensor.blocks:
                    takers[block.source].append((file, tensor.name, row, block))
                    row += len(block.rows)
        folders = [checkpoint.weights] if calibrated is None else [checkpoint.weights, calibrated]
        # In the files' order.
        sources = [(weights, name) for weights in folders for name in weights.tensors if name in takers]
        total = sum(weights.tensors[name].size for weights, name in sources)
        with progress.step("Converting", total, "bytes") as advance:
            for weights, source in sources:
                for first, piece in weights.pieces(source):
                    # What was calibrated has been checked, and has the dtype that is written.
                    numbers = piece if weights is calibrated else cast(piece, dtype, checkpoint, source)
                    for file, name, row, block in takers[source]:
                        start = max(block.rows.start, first)
                        stop = min(block.rows.stop, first + len(piece))
                        if start < stop:
                            taken = numbers[start - first : stop - first]
                            if block.columns is not None:
                                taken = taken[:, block.columns.start : block.columns.stop]
                            file.write(name, row + start - block.rows.start, taken)
                    advance(piece.nbytes)


def cast(piece: npt.NDArray[Any], dtype: Dtype, checkpoint: Checkpoint, source: str) -> npt.NDArray[Any]:
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


def native(checkpoint: Checkpoint) -> Dtype:
    """The dtype of most tensors; fp32 becomes bfloat16, which has its range."""
    dtypes = Counter(tensor.dtype for tensor in checkpoint.weights.tensors.values())
    return "float16" if dtypes.most_common(1)[0][0] == "F16" else "bfloat16"


def _check_tiles(tensors: list[RankTensor], form: Quantization, mapping: Mapping) -> None:
    """tensors: of a rank, unquantised, whose shapes are [outputs, inputs]."""
    outputs, inputs = TILES.get(form, (1, 1))
    for tensor in tensors:
        if not tensor.name.endswith(tuple(f"{name}.weight" for name in PROJECTIONS)):
            continue
        if tensor.shape[0] % outputs or tensor.shape[1] % inputs:
            others = "none" if form in ("int8", "int4") else "int8-sq, fp8 or none"
            raise BuildError(
                f"--quantization {form} does not suit the model: {tensor.name} is {list(tensor.shape)} on "
                f"each of {mapping.tensor} tensor-parallel ranks, and the kernels need "
                f"outputs in multiples of {outputs} and inputs in multiples of {inputs}; give --quantization "
                f"{others}" + (" or a smaller --tensor-parallel." if mapping.tensor > 1 else ".")
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
