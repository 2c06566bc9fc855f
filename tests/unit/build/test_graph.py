from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import tiny_checkpoints as tiny

from build.checkpoint.architecture import Architecture
from build.checkpoint.rope import Rope
from build.onnx import graph, positions
from slipway.contract.errors import BuildError

DOMAIN = "com.microsoft"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    return Architecture.read(tiny.write(tmp_path_factory.mktemp("model")) / "config.json")


def _matmul(name: str, columns: int, rows: int, **changes: int) -> onnx.NodeProto:
    attributes = {"bits": 8, "block_size": 32, "accuracy_level": 4, **changes}
    return helper.make_node("MatMulNBits", ["x"], ["y"], name, domain=DOMAIN, K=columns, N=rows, **attributes)


def _write(directory: Path, model: Architecture, nodes: list[onnx.NodeProto], rope: Rope) -> None:
    """A graph with the nodes that the check looks at; matrices that keep 8 bits as one, of the same size."""
    weights = model.projection_weights - sum(
        next(a.i for a in n.attribute if a.name == "K") * next(a.i for a in n.attribute if a.name == "N")
        for n in nodes
        if n.op_type == "MatMulNBits"
    )
    rest = [_matmul("/rest", 1, weights)] if weights else []
    attention = [
        helper.make_node("GroupQueryAttention", ["x"], ["y"], domain=DOMAIN, num_heads=4, kv_num_heads=2)
        for _ in range(model.layers)
    ]
    tables = [
        numpy_helper.from_array(table, name)
        for name, table in zip(("cos_cache", "sin_cache"), rope.tables(256, 16), strict=True)
    ]
    made = helper.make_graph([*nodes, *rest, *attention], "tiny", [], [], tables)
    onnx.save(helper.make_model(made), directory / graph.FILE_NAME)


def _check(directory: Path, model: Architecture) -> None:
    graph.check(directory, model, bits=4, kept_bits=8, block_size=32, accuracy=4)


def test_a_graph_as_asked_for_passes(tmp_path: Path, model: Architecture) -> None:
    embedding = helper.make_node("GatherBlockQuantized", ["x"], ["y"], domain=DOMAIN, bits=8, block_size=32)
    gate = _matmul("/model/layers.0/mlp/gate_proj/MatMul_Q4", 64, 96, bits=4)
    _write(tmp_path, model, [gate, _matmul("/lm_head/MatMul", 64, 264), embedding], model.rope)
    _check(tmp_path, model)


@pytest.mark.parametrize(
    ("option", "built"), [("bits", 4), ("block_size", 128), ("accuracy_level", 0), ("accuracy_level", 1)]
)
def test_an_option_that_the_builder_dropped_is_found(
    tmp_path: Path, model: Architecture, option: str, built: int
) -> None:
    _write(tmp_path, model, [_matmul("/lm_head/MatMul_Q4", 64, 264, **{option: built})], model.rope)
    with pytest.raises(BuildError, match=f"/lm_head/MatMul_Q4 of the built graph has {option} {built}"):
        _check(tmp_path, model)


def test_an_embedding_quantized_otherwise_is_found(tmp_path: Path, model: Architecture) -> None:
    embedding = helper.make_node(
        "GatherBlockQuantized", ["x"], ["y"], "/embed", domain=DOMAIN, bits=4, block_size=32
    )
    _write(tmp_path, model, [embedding], model.rope)
    with pytest.raises(BuildError, match="/embed of the built graph has bits 4 instead of 8"):
        _check(tmp_path, model)


def test_a_matrix_that_was_left_unquantized_is_found(tmp_path: Path, model: Architecture) -> None:
    _write(tmp_path, replace(model, layers=1), [], model.rope)
    with pytest.raises(BuildError, match=r"quantized \d+ of \d+ weights"):
        _check(tmp_path, model)


def test_a_projection_that_the_int4_quantizer_passed_over_is_found(
    tmp_path: Path, model: Architecture
) -> None:
    _write(tmp_path, model, [_matmul("/model/layers.1/attn/o_proj/MatMul_Q8", 64, 64)], model.rope)
    with pytest.raises(BuildError, match="o_proj/MatMul_Q8 of the built graph has bits 8 instead of 4"):
        _check(tmp_path, model)


def test_the_outer_layers_of_a_taller_model_keep_eight_bits(tmp_path: Path, model: Architecture) -> None:
    taller = replace(model, layers=16)
    outer = [f"/model/layers.{layer}/mlp/up_proj/MatMul_Q8" for layer in (0, 15)]
    _write(tmp_path, taller, [_matmul(name, 64, 96) for name in outer], model.rope)
    _check(tmp_path, taller)
    _write(tmp_path, taller, [_matmul("/model/layers.1/mlp/up_proj/MatMul_Q8", 64, 96)], model.rope)
    with pytest.raises(BuildError, match=r"layers\.1/mlp/up_proj/MatMul_Q8 of the built graph has bits 8"):
        _check(tmp_path, taller)


def _eight_bits(name: str) -> list[onnx.NodeProto]:
    """A matrix of 64 x 264 as the int8 quantizer leaves it, and another node of that many bits."""
    integers = helper.make_node(graph.INTEGER_PRODUCT, ["x", "weight"], ["y"], "/integers", domain=DOMAIN)
    return [integers, _matmul(name, 64, 264, bits=8)]


def _check_eight_bits(directory: Path, model: Architecture, nodes: list[onnx.NodeProto], dtype: type) -> None:
    rest = model.projection_weights - 2 * 64 * 264
    _write(directory, model, [*nodes, _matmul("/rest8", 1, rest, bits=8)], model.rope)
    made = onnx.load(directory / graph.FILE_NAME)
    kept = [node for node in made.graph.node if node.name != "/rest"]
    del made.graph.node[:]
    made.graph.node.extend(kept)
    made.graph.initializer.append(numpy_helper.from_array(np.zeros((64, 264), dtype), "weight"))
    onnx.save(made, directory / graph.FILE_NAME)
    graph.check(directory, model, bits=8, kept_bits=8, block_size=32, accuracy=4)


def test_integer_products_count_as_quantized_to_eight_bits(tmp_path: Path, model: Architecture) -> None:
    _check_eight_bits(tmp_path, model, _eight_bits("/model/layers.0/mlp/down_proj/MatMul_Q8"), np.int8)


def test_an_integer_product_of_something_else_than_int8_is_found(tmp_path: Path, model: Architecture) -> None:
    with pytest.raises(BuildError, match=r"quantized \d+ of \d+ weights"):
        _check_eight_bits(tmp_path, model, _eight_bits("/lm_head/MatMul_Q8"), np.float32)


def test_a_projection_that_the_int8_quantizer_passed_over_is_found(
    tmp_path: Path, model: Architecture
) -> None:
    with pytest.raises(BuildError, match="gate_proj/MatMul_Q8 of the built graph was not rewritten"):
        _check_eight_bits(tmp_path, model, _eight_bits("/model/layers.1/mlp/gate_proj/MatMul_Q8"), np.int8)


def test_a_layer_without_its_attention_is_found(tmp_path: Path, model: Architecture) -> None:
    _write(tmp_path, model, [], model.rope)
    taller = replace(model, layers=3)
    difference = taller.projection_weights - model.projection_weights
    _write(tmp_path, model, [_matmul("/more", 1, difference)], model.rope)
    wide = onnx.load(tmp_path / graph.FILE_NAME)
    wide.graph.node.append(_matmul("/again", 1, difference))
    onnx.save(wide, tmp_path / graph.FILE_NAME)
    with pytest.raises(BuildError, match="2 GroupQueryAttention nodes for 3 layers"):
        _check(tmp_path, taller)


def test_attention_with_other_heads_is_found(tmp_path: Path, model: Architecture) -> None:
    _write(tmp_path, model, [], model.rope)
    built = onnx.load(tmp_path / graph.FILE_NAME)
    attention = [node for node in built.graph.node if node.op_type == "GroupQueryAttention"]
    next(a for a in attention[1].attribute if a.name == "kv_num_heads").i = 4
    onnx.save(built, tmp_path / graph.FILE_NAME)
    with pytest.raises(BuildError, match="kv_num_heads 4 instead of 2"):
        _check(tmp_path, model)


@pytest.mark.parametrize(
    "built", [Rope("default", 5e5), Rope("linear", 1e4, factor=1.25), Rope("default", 10100.0)]
)
def test_another_rope_than_the_checkpoints_is_found(tmp_path: Path, model: Architecture, built: Rope) -> None:
    _write(tmp_path, model, [], built)
    with pytest.raises(BuildError, match="does not fit the checkpoint's rope"):
        _check(tmp_path, model)


def test_a_graph_without_rotary_tables_is_refused(tmp_path: Path, model: Architecture) -> None:
    _write(tmp_path, model, [], model.rope)
    built = onnx.load(tmp_path / graph.FILE_NAME)
    del built.graph.initializer[:]
    onnx.save(built, tmp_path / graph.FILE_NAME)
    with pytest.raises(BuildError, match="has no cos_cache"):
        _check(tmp_path, model)


def test_written_rotary_tables_are_those_of_the_rope(tmp_path: Path, model: Architecture) -> None:
    _write(tmp_path, model, [], model.rope)
    stretched = replace(model, rope=Rope("linear", 1e4, factor=4.0))
    graph.write_rotary_tables(tmp_path, stretched)
    _check(tmp_path, stretched)
    tables = {tensor.name: tensor for tensor in onnx.load(tmp_path / graph.FILE_NAME).graph.initializer}
    assert tables["cos_cache"].data_type == TensorProto.FLOAT
    assert numpy_helper.to_array(tables["sin_cache"])[4, 0] == pytest.approx(np.sin(1.0))


def test_a_graph_that_ends_in_another_way_gets_no_places_for_logits(
    tmp_path: Path, model: Architecture
) -> None:
    _write(tmp_path, model, [], model.rope)
    with pytest.raises(BuildError, match="install the onnxruntime-genai in requirements"):
        positions.add_places(tmp_path)
