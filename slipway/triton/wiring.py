"""How the tensors of an ensemble are wired: for each stage, the wire of each input and output.

A wire is an input or output of the ensemble, or its name begins with "_". What postprocessing reads, it
passes on: no step reads an output of the ensemble. Else Triton counts such an output twice when it looks for
steps that nothing needs, and skips the engine (EnsembleContext in ensemble_scheduler.cc of Triton's core).
"""

from collections.abc import Mapping

from slipway.triton import interface
from slipway.triton.tensor_spec import TensorSpec

PREPROCESSING_INPUTS = {
    "QUERY": "text_input",
    "DECODER_QUERY": "decoder_text_input",
    "REQUEST_OUTPUT_LEN": "max_tokens",
    "BAD_WORDS_DICT": "bad_words",
    "STOP_WORDS_DICT": "stop_words",
    "EMBEDDING_BIAS_WORDS": "embedding_bias_words",
    "EMBEDDING_BIAS_WEIGHTS": "embedding_bias_weights",
    "PROMPT_TOKEN_IDS": "prompt_token_ids",
    "STOP_TOKEN_IDS": "stop_token_ids",
    "LOGIT_BIAS_IDS": "logit_bias_ids",
    "LOGIT_BIAS_VALUES": "logit_bias_values",
    "END_ID": "end_id",
    "PAD_ID": "pad_id",
    "PROMPT_TABLE_EXTRA_ID": "prompt_table_extra_id",
    "RETURN_PERF_METRICS": "return_perf_metrics",
    "NUM_RETURN_SEQUENCES": "num_return_sequences",
    "RETURN_GENERATION_LOGITS": "return_generation_logits",
}
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
PREPROCESSING_OUTPUTS = {stage: f"_{stage}" for stage in _PREPARED}
# Output of the engine stage by the input of postprocessing that it feeds. It passes on all of them.
_READ = {
    "TOKENS_BATCH": "output_ids",
    "SEQUENCE_LENGTH": "sequence_length",
    "ARRIVAL_TIME": "arrival_time_ns",
    "LAST_TOKEN_TIME": "last_token_time_ns",
}
POSTPROCESSING_INPUTS = {stage: f"_{engine}" for stage, engine in _READ.items()}
POSTPROCESSING_OUTPUTS = {"OUTPUT": "text_output", "END_OF_SEQUENCE": "end_of_sequence", **_READ}

Tensors = tuple[TensorSpec, ...]


def extras(compiled: bool) -> tuple[Tensors, Tensors]:
    """Inputs and outputs beside upstream's, with the same names in the engine stage and the ensemble."""
    return ((), ()) if compiled else (interface.ONNX_INPUTS, interface.ONNX_OUTPUTS)


def engine_inputs(compiled: bool) -> Mapping[str, str]:
    """Wire by input of the engine stage."""
    wires = {engine: PREPROCESSING_OUTPUTS[stage] for stage, engine in _PREPARED.items()}
    offered = {tensor.name for tensor in interface.ENSEMBLE_INPUTS}
    for tensor in interface.ENGINE_INPUTS:
        client = interface.CLIENT_NAMES.get(tensor.name, tensor.name)
        if tensor.name not in wires and client in offered:
            wires[tensor.name] = client
    return wires | {tensor.name: tensor.name for tensor in extras(compiled)[0]}


def engine_outputs(compiled: bool) -> Mapping[str, str]:
    """Wire by output of the engine stage."""
    read = {engine: POSTPROCESSING_INPUTS[stage] for stage, engine in _READ.items()}
    passed_on = (*interface.ENSEMBLE_OUTPUTS, *extras(compiled)[1])
    return {tensor.name: tensor.name for tensor in passed_on if tensor.name != "text_output"} | read
