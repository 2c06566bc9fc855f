"""A graph that can verify draft tokens: it writes the keys and values of all rows before any row attends.

To verify drafts, the runtime decodes several tokens of one sequence as rows of one batch, over the same KV
memory. Each row needs the keys and values of the rows before it, but GroupQueryAttention writes and reads row
by row, on all cores at once (onnxruntime 1.31, contrib_ops/cpu/bert/gqa_attention_base.h). So each layer gets
a second GroupQueryAttention before its own. It runs only on request, and only what it writes is used.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from build.onnx import graph

# A higher number makes a new build of existing engines necessary.
VERSION = 1
# The same names are in slipway/runtime/executors/onnxruntime.py.
SWITCH = "write_first"
PREFIX = "first_"


def add_writers(directory: Path) -> None:
    """Add the writing nodes to `directory`/model.onnx.

    SWITCH is a new input, bool [], false by default. When it is true, the outputs PREFIX + name must be bound
    to the memory of the key or value output of that name; otherwise they are empty.
    """
    model = onnx.load(directory / graph.FILE_NAME, load_external_data=False)
    outputs = {output.name: output for output in model.graph.output}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "GroupQueryAttention":
            names = list(node.output[1:3])
            nodes.append(_writer(node, names))
            for name in names:
                written = onnx.ValueInfoProto()
                written.CopyFrom(outputs[name])
                written.name = PREFIX + name
                model.graph.output.append(written)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    graph.add_optional_input(model, SWITCH, np.array(False), [])
    onnx.save(model, directory / graph.FILE_NAME)


def _writer(attention: onnx.NodeProto, names: list[str]) -> onnx.NodeProto:
    writer = onnx.NodeProto()
    writer.CopyFrom(attention)
    writer.name = f"{attention.name}/first"
    written = [f"{writer.name}/{name}" for name in names]
    writer.output[:] = [f"{writer.name}/unused", *written]
    empty = numpy_helper.from_array(np.zeros((0, 1, 0, 1), np.float32))
    nothing = [helper.make_node("Constant", [], [f"{name}/none"], value=empty) for name in written]
    return helper.make_node(
        "If",
        [SWITCH],
        [PREFIX + name for name in names],
        f"{attention.name}/write_first",
        then_branch=_branch(f"{writer.name}/then", [writer], written),
        else_branch=_branch(f"{writer.name}/else", nothing, [f"{name}/none" for name in written]),
    )


def _branch(name: str, nodes: list[onnx.NodeProto], outputs: list[str]) -> onnx.GraphProto:
    values = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs]
    return helper.make_graph(nodes, name, [], values)
