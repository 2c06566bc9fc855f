"""The executor for an engine, by its target."""

from pathlib import Path

from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import Manifest
from slipway.runtime.executors.base import Executor
from slipway.runtime.executors.genai_config import check_files


def open_executor(
    directory: Path, manifest: Manifest, slots: int, max_len: int, threads: int, on_cpu: bool
) -> Executor:
    """Load the graph of the engine in `directory` into the executor for its target.

    slots: sequences held at once. max_len: tokens a slot holds. threads: cores a pass on the CPU uses.
    on_cpu: run a graph made for a GPU on the CPU. Raises EngineRefused when the graph does not load, cannot
    hold max_len positions, or is built for a device that the installed packages do not reach.
    """
    # Imported here, because a machine may have only one executor's library.
    if manifest.target.runtime == "onnxruntime":
        from slipway.runtime.executors.onnxruntime import SlotExecutor

        check_files(directory, manifest)
        return SlotExecutor(directory, slots, max_len, threads)
    if manifest.target.runtime == "openvino":
        from slipway.runtime.executors.openvino import BlockExecutor

        return BlockExecutor(directory, manifest, slots, max_len, threads)
    try:
        from slipway.runtime.executors.genai import GeneratorExecutor
    except ModuleNotFoundError as error:
        raise EngineRefused(
            f"Engine {manifest.name} is built for {manifest.target}, which needs {error.name}; install "
            "slipway[directml] (Windows) or slipway[cuda], or build it with target onnx-cpu."
        ) from None
    check_files(directory, manifest)
    return GeneratorExecutor(directory, manifest, max_len, threads, on_cpu)
