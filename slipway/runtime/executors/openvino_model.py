"""The decoder that `build/openvino` writes, loaded for paged attention."""

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as op
from openvino._offline_transformations import paged_attention_transformation

from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import Manifest
from slipway.runtime.memory import available_bytes

# Names that the build gives (build/openvino/model_file.py and build/openvino/graph.py).
_GRAPH, _NUMBERS, _FINAL_NORM = "model.xml", "model.bin", "final_norm"
# The new input: the places in a pass after which logits are wanted.
WANTED = "sampled_tokens_indices"
# bfloat16, OpenVINO's default where the CPU has it, is a seventh faster with prompts, no faster with answers
# and less exact, and an answer would depend on the CPU. Pinned threads would stay on a core that another
# program has taken.
_SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
# Quantized weights read activations in 8 bits, quantized in groups of 64 channels. Keys and values in fp16
# attend fastest.
_QUANTIZED = {"KV_CACHE_PRECISION": "f16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 64}
_PRECISIONS = {
    "none": {"KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0},
    "int8": _QUANTIZED,
    "int4": _QUANTIZED,
}


def load(directory: Path, manifest: Manifest, threads: int) -> ov.CompiledModel:
    """Load the model of an engine. Its inputs are those of OpenVINO's paged attention, and WANTED.

    Raises EngineRefused when it does not load here, or its weights do not fit into memory.
    """
    _check_memory(directory, manifest)
    core = ov.Core()
    settings = _SETTINGS | _PRECISIONS[manifest.quantization] | {"INFERENCE_NUM_THREADS": threads}
    try:
        model = core.read_model(str(directory / _GRAPH))
        paged_attention_transformation(model)
        _gather_wanted(model)
        return core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise refusal(directory, error, "load") from error


def caches(compiled: ov.CompiledModel) -> dict[str, tuple[tuple[int, ...], ov.Type]]:
    """The shape of one block of each layer's keys and values, and its type, by the name of the input."""
    return {
        port.any_name: (tuple(size.get_length() for size in list(port.partial_shape)[1:]), port.element_type)
        for port in compiled.inputs
        if "_cache." in port.any_name
    }


def _gather_wanted(model: ov.Model) -> None:
    """Compute logits only after the tokens of a pass that WANTED names."""
    norm = next(node for node in model.get_ops() if node.get_friendly_name() == _FINAL_NORM)
    readers = norm.output(0).get_target_inputs()
    wanted = op.parameter([-1], np.int64, name=WANTED)
    wanted.output(0).get_tensor().set_names({WANTED})
    gathered = op.gather(norm, wanted, op.constant(0, np.int64))
    for reader in readers:
        reader.replace_source_output(gathered.output(0))
    model.add_parameters([wanted])
    model.validate_nodes_and_infer_types()


def _check_memory(directory: Path, manifest: Manifest) -> None:
    needed, available = (directory / _NUMBERS).stat().st_size, available_bytes()
    if needed > available:
        raise EngineRefused(
            f"The weights of engine {manifest.name} take {needed / 1e9:.2f} GB of memory, and "
            f"{available / 1e9:.2f} GB are free; free memory, or build it with fewer bits or from a smaller "
            "model."
        )


def refusal(directory: Path, error: RuntimeError, what: str) -> EngineRefused:
    """The refusal of an engine whose graph OpenVINO does not load or run. what: which of the two."""
    cpu = ov.Core().get_property("CPU", "FULL_DEVICE_NAME")
    return EngineRefused(
        f"{directory / _GRAPH} does not {what} in OpenVINO {ov.__version__} on {cpu} ({_reason(error)}); "
        "build the engine again, or build it with target onnx-cpu."
    )


def _reason(error: RuntimeError) -> str:
    """The last line of OpenVINO's message, which is a stack of where and why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "no reason given"
