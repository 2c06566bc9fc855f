"""The Triton models of one built engine, and how their tensors are wired."""

from dataclasses import replace

from slipway.contract.manifest import Manifest
from slipway.contract.stage_names import engine_stage, postprocessing, preprocessing
from slipway.text import tokenizer_info
from slipway.triton import engine_folder, interface, llmapi_arguments, llmapi_interface
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

# Engine input by the preprocessing output that feeds it. An output that preprocessing omits, such as an
# unknown end_id, is absent in the engine stage too.
_PREPARED = {
    "INPUT_ID": "input_ids",
    "REQUEST_INPUT_LEN": "input_lengths",
    "REQUEST_OUTPUT_LEN": "request_output_len",
    "BAD_WORDS_IDS": "bad_words_list",
    "STOP_WORDS_IDS": "stop_words_list",
    "EMBEDDING_BIAS": "embedding_bias",
    "OUT_END_ID": "end_id",
    "OUT_PAD_ID": "pad_id",
    "RETURN_PERF_METRICS": "return_perf_metrics",
}
_PREPROCESSING_INPUTS = {
    "QUERY": "text_input",
    "DECODER_QUERY": "decoder_text_input",
    "REQUEST_OUTPUT_LEN": "max_tokens",
    "BAD_WORDS_DICT": "bad_words",
    "STOP_WORDS_DICT": "stop_words",
    "EMBEDDING_BIAS_WORDS": "embedding_bias_words",
    "EMBEDDING_BIAS_WEIGHTS": "embedding_bias_weights",
    "PROMPT_TOKEN_IDS": "prompt_token_ids",
    "LOGIT_BIAS_IDS": "logit_bias_ids",
    "LOGIT_BIAS_VALUES": "logit_bias_values",
    "END_ID": "end_id",
    "PAD_ID": "pad_id",
    "PROMPT_TABLE_EXTRA_ID": "prompt_table_extra_id",
    "RETURN_PERF_METRICS": "return_perf_metrics",
}
_POSTPROCESSING_INPUTS = {
    "TOKENS_BATCH": "output_ids",
    "SEQUENCE_LENGTH": "sequence_length",
    "ARRIVAL_TIME": "arrival_time_ns",
    "LAST_TOKEN_TIME": "last_token_time_ns",
}


_TEXT = {"OUTPUT": "text_output", "END_OF_SEQUENCE": "end_of_sequence"}


def of_engine(manifest: Manifest, engine_dir: str) -> tuple[TritonModel, ...]:
    """The stages and, last, the ensemble; for target tensorrt-llm-llmapi one model that takes and gives text.

    engine_dir: absolute, or relative to the folder above the model repository.
    """
    if manifest.target.runtime == "llmapi":
        return (_llmapi(manifest, engine_dir),)
    name, rows = manifest.name, manifest.limits.max_batch_size
    inputs, outputs = _extras(manifest)
    passed_on = _with_logits(manifest, interface.ENSEMBLE_OUTPUTS)
    parameters = {engine_folder.PARAMETER: engine_dir}
    return (
        PythonModel(
            preprocessing(name),
            "slipway.triton.stages.preprocessing",
            rows,
            interface.PREPROCESSING_INPUTS,
            interface.PREPROCESSING_OUTPUTS,
            parameters=parameters,
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
            _steps(name, inputs, outputs),
        ),
    )


def _llmapi(manifest: Manifest, engine_dir: str) -> PythonModel:
    return PythonModel(
        manifest.name,
        "slipway.triton.stages.llmapi",
        0,  # no batch dimension, as upstream
        llmapi_interface.INPUTS,
        (*llmapi_interface.OUTPUTS, llmapi_interface.TOKENS_SO_FAR),
        decoupled=True,
        parameters={engine_folder.PARAMETER: engine_dir},
        files={llmapi_arguments.FILE_NAME: llmapi_arguments.text(manifest, engine_dir)},
        prelude=_IMAGE_FIRST,
    )


def _extras(manifest: Manifest) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs beside upstream's, with the same names in the engine stage and the ensemble."""
    if manifest.target.compiled:
        return (), ()
    return interface.ONNX_INPUTS, interface.ONNX_OUTPUTS


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


def _steps(name: str, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> tuple[Step, ...]:
    """inputs, outputs: those of the engine stage beside upstream's."""
    prepared = {stage: f"_{stage}" for stage in _PREPARED}
    wired = {engine: f"_{stage}" for stage, engine in _PREPARED.items()}
    offered = {tensor.name for tensor in interface.ENSEMBLE_INPUTS}
    for tensor in interface.ENGINE_INPUTS:
        client = interface.CLIENT_NAMES.get(tensor.name, tensor.name)
        if tensor.name not in wired and client in offered:
            wired[tensor.name] = client
    results = {
        tensor.name: tensor.name for tensor in interface.ENSEMBLE_OUTPUTS if tensor.name != "text_output"
    }
    results |= {inner: inner for inner in _POSTPROCESSING_INPUTS.values()}
    wired |= {tensor.name: tensor.name for tensor in inputs}
    results |= {tensor.name: tensor.name for tensor in outputs}
    return (
        Step(preprocessing(name), _PREPROCESSING_INPUTS, prepared),
        Step(engine_stage(name), wired, results),
        Step(postprocessing(name), _POSTPROCESSING_INPUTS, _TEXT),
    )
