"""A graph that can give the logits after each token of a pass, and not only after the last.

The builder gathers the last hidden state before the lm_head, because an answer needs no other logits. Here
the places are an input. Without it, the graph does what it did before.
"""

from pathlib import Path

import numpy as np
import onnx

from build.onnx import graph
from slipway.contract.errors import BuildError

# A higher number makes a new build of existing engines necessary.
VERSION = 1
# The same name is in slipway/runtime/executors/onnxruntime.py.
PLACES = "logits_at"
_GATHER, _UNSQUEEZE = "/lm_head/prune/Gather", "/lm_head/prune/Unsqueeze"


def add_places(directory: Path) -> None:
    """Add the input PLACES to `directory`/model.onnx: int64 [places], by default [-1].

    The output `logits` is then [batch, places, vocabulary]. Its declared shape keeps one place: by that, ONNX
    Runtime GenAI knows a graph without the logits of all tokens. Raises BuildError for another graph than the
    builder's.
    """
    model = onnx.load(directory / graph.FILE_NAME, load_external_data=False)
    nodes = {node.name: node for node in model.graph.node}
    gather, unsqueeze = nodes.get(_GATHER), nodes.get(_UNSQUEEZE)
    if gather is None or unsqueeze is None:
        raise BuildError(
            "The built graph does not gather the last hidden state as expected; install the "
            "onnxruntime-genai in requirements."
        )
    # A list of places keeps the axis that one place loses, so it need not be put back.
    gather.input[1] = PLACES
    unshaped = gather.output[0]
    gather.output[0] = unsqueeze.output[0]
    model.graph.node.remove(unsqueeze)
    for value in [each for each in model.graph.value_info if each.name in (unshaped, gather.output[0])]:
        model.graph.value_info.remove(value)
    graph.add_optional_input(model, PLACES, np.array([-1], np.int64), ["places"])
    onnx.save(model, directory / graph.FILE_NAME)
