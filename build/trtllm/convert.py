"""Convert a merged Hugging Face checkpoint into one that trtllm-build reads.

The weights are read once, in pieces of 1 MiB or a row, and written to the files of all ranks: memory depends
neither on the model nor on the number of ranks.
"""

import json
import re
from collections import defaultdict
from contextlib import ExitStack
from math import prod
from pathlib import Path

import numpy as np

from build import progress
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.tensor_file import TensorFile
from build.checkpoint.weights import ALL_DTYPES, Weights
from build.destination import Destination, check_disk_space
from build.trtllm import config as trtllm_config
from build.trtllm.calibration import Calibration, CalibrationText, needs_calibration
from build.trtllm.dtype import STORED, cast, dtype_of
from build.trtllm.memory import TILES
from build.trtllm.parallel import check_parallel
from build.trtllm.rank_tensors import PROJECTIONS, Block, RankTensor, rank_tensors
from slipway.contract.errors import BuildError
from slipway.contract.quantization import CALIBRATED, CacheQuantization, Quantization
from slipway.contract.recipe import Dtype, Parallel

_RANK_FILE = re.compile(r"rank\d+\.safetensors")


def convert(
    directory: Path,
    output: Path,
    quantization: Quantization,
    dtype: Dtype | None,
    parallel: Parallel,
    cache: CacheQuantization = "none",
    text: CalibrationText | None = None,
) -> str:
    """Write `output`/config.json and rank0.safetensors, rank1…; returns a message for the user.

    quantization: of the projections. For int8 and int4 the weights are written unquantized, because the
    layout that trtllm-build gives them depends on the GPU. int4-awq, int8-sq, fp8 and a quantized `cache` are
    calibrated first, on `text`. dtype: None is the checkpoint's.
    Raises SlipwayError, and leaves `output` as it was, when the checkpoint, the ranks, the calibration or a
    number does not allow it. Everything but the numbers is checked first.
    """
    checkpoint = Checkpoint.open(directory)
    model = checkpoint.architecture
    check_parallel(parallel, model)
    _check_tiles(list(rank_tensors(model, parallel, 0)), quantization, parallel)
    ranks = [
        list(rank_tensors(model, parallel, rank, quantization, cache)) for rank in range(parallel.world_size)
    ]
    _check_replaceable(output)
    dtype = dtype or dtype_of(checkpoint)
    size = sum(
        prod(tensor.shape) * np.dtype(ALL_DTYPES[tensor.dtype or STORED[dtype]]).itemsize
        for tensors in ranks
        for tensor in tensors
    )
    check_disk_space(output, size, "converted checkpoint")
    calibration = None
    if needs_calibration(quantization, cache):
        calibration = Calibration.of(checkpoint, quantization, cache, dtype, text or CalibrationText())
    for hint in checkpoint.hints():
        progress.say(f"Note: {hint}")
    destination = Destination(output)
    with destination.locked():
        calibrated = calibration.obtain() if calibration else None
        with destination.workplace() as work:
            made = work / "checkpoint"
            made.mkdir()
            _write_tensors(checkpoint, calibrated, ranks, dtype, made)
            values = trtllm_config.config(model, parallel, quantization, cache, dtype)
            (made / trtllm_config.FILE_NAME).write_text(json.dumps(values, indent=2), encoding="utf-8")
            destination.put(made)
    return f"{output} is ready: {_describe(size, dtype, len(ranks), quantization, cache)}."


def _describe(
    size: int, dtype: Dtype, ranks: int, quantization: Quantization, cache: CacheQuantization
) -> str:
    algorithm = trtllm_config.ALGORITHMS[quantization]
    weights = f"{algorithm}, the rest {dtype}," if quantization in CALIBRATED else dtype
    described = f"{size / 1e6:,.0f} MB of {weights} in {'1 rank' if ranks == 1 else f'{ranks} ranks'}"
    if algorithm and quantization not in CALIBRATED:
        described += f", which trtllm-build will quantize ({algorithm})"
    return described if cache == "none" else f"{described}, with scales for a KV cache in {cache}"


def _write_tensors(
    checkpoint: Checkpoint,
    calibrated: Weights | None,
    ranks: list[list[RankTensor]],
    dtype: Dtype,
    directory: Path,
) -> None:
    """Write the files of all ranks. calibrated: tensors from a calibration, in the dtype to write."""
    targets: dict[str, list[tuple[TensorFile, str, int, Block]]] = defaultdict(list)
    with ExitStack() as files:
        for rank, tensors in enumerate(ranks):
            entries = [(tensor.name, tensor.dtype or STORED[dtype], tensor.shape) for tensor in tensors]
            file = files.enter_context(TensorFile(directory / f"rank{rank}.safetensors", entries))
            for tensor in tensors:
                row = 0
                for block in tensor.blocks:
                    targets[block.source].append((file, tensor.name, row, block))
                    row += len(block.rows)
        folders = [checkpoint.weights] if calibrated is None else [checkpoint.weights, calibrated]
        # In the order of the files that are read.
        sources = [(weights, name) for weights in folders for name in weights.tensors if name in targets]
        total = sum(weights.tensors[name].size for weights, name in sources)
        with progress.step("Converting", total, "bytes") as advance:
            for weights, source in sources:
                for first, piece in weights.pieces(source):
                    numbers = piece if weights is calibrated else cast(piece, dtype, checkpoint, source)
                    for file, name, row, block in targets[source]:
                        start = max(block.rows.start, first)
                        stop = min(block.rows.stop, first + len(piece))
                        if start < stop:
                            rows = numbers[start - first : stop - first]
                            if block.columns is not None:
                                rows = rows[:, block.columns.start : block.columns.stop]
                            file.write(name, row + start - block.rows.start, rows)
                    advance(piece.nbytes)


def _check_tiles(tensors: list[RankTensor], quantization: Quantization, parallel: Parallel) -> None:
    """Raise BuildError unless the kernels can divide every matrix.

    tensors: of one rank, unquantized, so that shapes are [outputs, inputs].
    """
    outputs, inputs = TILES.get(quantization, (1, 1))
    for tensor in tensors:
        if not tensor.name.endswith(tuple(f"{name}.weight" for name in PROJECTIONS)):
            continue
        if tensor.shape[0] % outputs or tensor.shape[1] % inputs:
            others = "none" if quantization in ("int8", "int4") else "int8-sq, fp8 or none"
            raise BuildError(
                f"--quantization {quantization} does not suit the model: {tensor.name} is "
                f"{list(tensor.shape)} on each of {parallel.tensor} tensor-parallel ranks, and the kernels "
                f"need outputs in multiples of {outputs} and inputs in multiples of {inputs}; give "
                f"--quantization {others}"
                + (" or a smaller --tensor-parallel." if parallel.tensor > 1 else ".")
            )


def _check_replaceable(output: Path) -> None:
    """Raise BuildError when a folder holds anything but a converted checkpoint: it is the user's work."""
    if not output.exists():
        return
    if not output.is_dir():
        raise BuildError(f"{output} is a file; name a folder to write.")
    names = sorted(path.name for path in output.iterdir())
    converted = "rank0.safetensors" in names
    for name in names:
        if not converted or (name != trtllm_config.FILE_NAME and not _RANK_FILE.fullmatch(name)):
            raise BuildError(
                f"{output} holds {name}, so it is not a converted checkpoint and is not replaced; name "
                "another folder."
            )
