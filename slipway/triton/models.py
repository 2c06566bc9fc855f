"""The Triton models of one built engine, and how their tensors are wired."""

from dataclasses import replace

from slipway.contract.manifest import Manifest
from slipway.contract.stage_names import engine_stage, postprocessing, preprocessing
from slipway.text import tokenizer_info
from slipway.triton import engine_folder, interface, layout, llmapi_arguments, llmapi_interface, wiring
from slipway.triton.config import Ensemble, PythonModel, Step, TritonModel, TrtllmModel
from slipway.triton.tensor_spec import TensorSpec
from slipway.triton.trtllm_parameters import TrtllmParameters

# tensorrt_llm must find the packages of the image that it was installed with before those of our own virtual
# environment, which has other versions of some (docker/triton.Dockerfile). So must LLM's workers: mpi4py only
# appends this path to theirs (_sync_set_data in mpi4py/futures/_core.py), hence the variable.
_IMAGE_FIRST = """import os
import sys
from pathlib import Path

sys.path.sort(key=lambda path: Path(path).is_relative_to(sys.prefix))
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
"""


def of_engine(manifest: Manifest, engine_dir: str) -> tuple[TritonModel, ...]:
    """The stages and, last, the ensemble; for target tensorrt-llm-llmapi one model that takes and gives text.

    engine_dir: absolute, or relative to the folder above the model repository.
    """
    if manifest.target.runtime == "llmapi":
        return (_llmapi(manifest, engine_dir),)
    name, rows, compiled = manifest.name, manifest.limits.max_batch_size, manifest.target.compiled
    inputs, outputs = wiring.extras(compiled)
    passed_on = _with_logits(manifest, interface.ENSEMBLE_OUTPUTS)
    parameters = {engine_folder.PARAMETER: engine_dir}
    return (
        PythonModel(
            preprocessing(name),
            "slipway.triton.stages.preprocessing",
            rows,
            interface.PREPROCESSING_INPUTS,
            interface.PREPROCESSING_OUTPUTS,
            parameters={**parameters, layout.PARAMETER: layout.layout(compiled)},
        ),
        _engine(manifest, engine_dir),
        PythonModel(
            postprocessing(name),
            "slipway.triton.stages.postprocessing",
            rows,
            interface.POSTPROCESSING_INPUTS,
            interface.POSTPROCESSING_OUTPUTS,
            parameters=parameters,
        ),
        Ensemble(
            name,
            rows,
            (*interface.ENSEMBLE_INPUTS, *interface.OWN_INPUTS, *inputs),
            (*passed_on, *interface.OWN_OUTPUTS, *outputs),
            _steps(name, compiled),
        ),
    )


def _llmapi(manifest: Manifest, engine_dir: str) -> PythonModel:
    return PythonModel(
        manifest.name,
        "slipway.triton.stages.llmapi",
        0,  # no batch dimension, as upstream
        (*llmapi_interface.INPUTS, llmapi_interface.STOP_TOKEN_IDS),
        (*llmapi_interface.OUTPUTS, llmapi_interface.TOKENS_SO_FAR),
        decoupled=True,
        parameters={engine_folder.PARAMETER: engine_dir},
        files={llmapi_arguments.FILE_NAME: llmapi_arguments.text(manifest, engine_dir)},
        prelude=_IMAGE_FIRST,
    )


def _with_logits(manifest: Manifest, tensors: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The same tensors, with the type of this engine's logits."""
    if not manifest.target.compiled:
        return tensors
    logits = interface.LOGITS
    return tuple(
        replace(tensor, dtype=interface.COMPILED_LOGITS) if tensor.name in logits else tensor
        for tensor in tensors
    )


def _engine(manifest: Manifest, engine_dir: str) -> PythonModel | TrtllmModel:
    name, rows = engine_stage(manifest.name), manifest.limits.max_batch_size
    inputs = _with_logits(manifest, interface.ENGINE_INPUTS)
    outputs = _with_logits(manifest, interface.ENGINE_OUTPUTS)
    if manifest.target.compiled:
        parameters = _compiled(manifest, engine_dir)
        return TrtllmModel(name, rows, inputs, outputs, parameters.texts())
    return PythonModel(
        name,
        "slipway.triton.stages.engine",
        rows,
        (*inputs, *interface.ONNX_INPUTS),
        (*outputs, *interface.ONNX_OUTPUTS),
        decoupled=True,
        parameters={engine_folder.PARAMETER: engine_dir},
    )


def _compiled(manifest: Manifest, engine_dir: str) -> TrtllmParameters:
    chunks = manifest.kv_cache.chunks_prompts(manifest.quantization)
    return TrtllmParameters(
        gpt_model_path=engine_dir,
        xgrammar_tokenizer_info_path=f"{engine_dir}/{tokenizer_info.FILE_NAME}",
        kv_cache_free_gpu_mem_fraction=manifest.kv_cache.memory_share,
        enable_kv_cache_reuse=chunks,
        enable_chunked_context=chunks,
        gpu_device_ids=manifest.parallel.gpus,
    )


def _steps(name: str, compiled: bool) -> tuple[Step, ...]:
    return (
        Step(preprocessing(name), wiring.PREPROCESSING_INPUTS, wiring.PREPROCESSING_OUTPUTS),
        Step(engine_stage(name), wiring.engine_inputs(compiled), wiring.engine_outputs(compiled)),
        Step(postprocessing(name), wiring.POSTPROCESSING_INPUTS, wiring.POSTPROCESSING_OUTPUTS),
    )
