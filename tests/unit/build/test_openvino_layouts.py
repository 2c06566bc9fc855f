"""Matrices as OpenVINO's graphs store them, and the file that holds them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as op

from build.openvino import gptq
from build.openvino.layouts import BLOCK, FourBits, InBlocks, Layout, PerOutput, Plain, RowLayout
from build.openvino.model_file import GRAPH, ModelFile
from build.openvino.write import layout

SHAPE = (96, 3 * BLOCK)  # zero points of a row end within a byte
RANDOM = np.random.default_rng(0)
# Rows of very different sizes, and one of zeros.
MATRIX = (RANDOM.normal(size=SHAPE) * np.geomspace(1e-2, 1e3, SHAPE[0])[:, None]).astype(np.float32)
MATRIX[5] = 0


def read_back(layout: Layout, directory: Path, write: Callable[[ModelFile], None]) -> np.ndarray:
    """A matrix "m" that `write` wrote, as OpenVINO reads it."""
    stored = layout.tensors(SHAPE)
    nodes = {
        suffix: op.parameter(list(each.shape), each.element_type, name=f"m{suffix}")
        for suffix, each in stored.items()
    }
    x = op.parameter([-1, SHAPE[1]], np.float32, name="x")
    result = op.result(op.matmul(x, layout.expand(nodes, SHAPE), False, True))
    model = ov.Model([result], [x, *nodes.values()], "product")
    with ModelFile(directory, model, {f"m{suffix}": each for suffix, each in stored.items()}) as file:
        write(file)
    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = ov.Core().compile_model(str(directory / GRAPH), "CPU", exact)
    return np.asarray(compiled(np.eye(SHAPE[1], dtype=np.float32))[0]).T


def written(layout: RowLayout, directory: Path, pieces: list[int]) -> np.ndarray:
    """MATRIX written in pieces that end at these rows, and read back by OpenVINO."""

    def write(file: ModelFile) -> None:
        for start, stop in zip([0, *pieces], [*pieces, SHAPE[0]], strict=True):
            for suffix, rows in layout.stored(MATRIX[start:stop]).items():
                file.write(f"m{suffix}", start, rows)

    return read_back(layout, directory, write)


@pytest.mark.parametrize(("stored", "levels"), [(Plain(), 1e9), (PerOutput(), 127), (InBlocks(), 127)])
def test_what_is_read_back_is_within_half_a_step_of_what_was_written(
    stored: RowLayout, levels: float, tmp_path: Path
) -> None:
    read = written(stored, tmp_path, [1, 40])
    blocks = SHAPE[1] // BLOCK if isinstance(stored, InBlocks) else 1
    peaks = np.abs(MATRIX.reshape(SHAPE[0], blocks, -1)).max(axis=2)
    steps = np.repeat(np.maximum(peaks / levels, 1e-7), SHAPE[1] // blocks, axis=1)
    # The scales of blocks are fp16, so the largest weight of a block may be a little further off.
    assert (np.abs(read - MATRIX) <= 0.6 * steps).all()


def test_the_cuts_between_pieces_change_nothing(tmp_path: Path) -> None:
    (whole := tmp_path / "whole").mkdir()
    (cut := tmp_path / "cut").mkdir()
    assert (written(PerOutput(), whole, []) == written(PerOutput(), cut, [7, 8, 90])).all()


def test_down_projections_have_blocks_where_their_rows_divide() -> None:
    assert isinstance(layout("int8", "down", (64, 128)), InBlocks)
    assert isinstance(layout("int8", "down", (64, 96)), PerOutput)
    assert isinstance(layout("int8", "qkv", (64, 128)), PerOutput)
    assert isinstance(layout("none", "down", (64, 128)), Plain)


def test_four_bits_are_read_back_as_they_were_rounded(tmp_path: Path) -> None:
    rounded = gptq.round_matrix(MATRIX, np.eye(SHAPE[1], dtype=np.float32))

    def write(file: ModelFile) -> None:
        for suffix, tensor in FourBits().stored(rounded).items():
            file.write(f"m{suffix}", 0, tensor)

    read = read_back(FourBits(), tmp_path, write)
    # The steps of a group times its scale are fp16 before they are fp32.
    np.testing.assert_allclose(read, rounded.restored(), rtol=1e-3, atol=1e-7)
