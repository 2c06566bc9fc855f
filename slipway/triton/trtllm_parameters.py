"""The parameters of TensorRT-LLM's engine model, each with the reason for its value.

These are all parameters of the template of 1.2 (NVIDIA/TensorRT-LLM, triton_backend/all_models/
inflight_batcher_llm/tensorrt_llm/config.pbtxt). model_state.cc and model_instance_state.cc in
triton_backend/inflight_batcher_llm/src read them, with defaults of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Literal

_ONE_BEAM = "engines are built for one beam"
_NO_ENCODER = "the models here have a decoder only"
_NO_DRAFTS = "engines are built without draft tokens"
_NO_LORA = "engines have no adapters: they are merged into the weights before"
_AS_UPSTREAM = "upstream's default, and no reason to leave it"
_PLACED = "upstream takes the first GPUs, one for each rank, unless this names others"

Value = str | int | float | bool | Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrtllmParameters:
    """By upstream's names and types, each annotated with the reason for its value.

    A None is not written; the C++ code then does what the reason says. It reads tokenizer_dir,
    guided_decoding_backend and xgrammar_tokenizer_info_path without a default, so those must be written.
    """

    gpt_model_path: Annotated[str, "where the engine is"]
    xgrammar_tokenizer_info_path: Annotated[
        str, "without this file the C++ backend ignores grammars silently"
    ]
    kv_cache_free_gpu_mem_fraction: Annotated[float, "the recipe's kv_cache.memory_share"]
    enable_kv_cache_reuse: Annotated[bool, "a cached prefix is not prefilled again; needs chunked prompts"]
    enable_chunked_context: Annotated[
        bool, "long prompts do not hold up running answers; where prompts can be chunked"
    ]
    guided_decoding_backend: Annotated[str, "the only one that the C++ backend has"] = "xgrammar"
    tokenizer_dir: Annotated[str, "the C++ backend reads it and does nothing with it"] = ""
    max_beam_width: Annotated[int, _ONE_BEAM] = 1
    FORCE_CPU_ONLY_INPUT_TENSORS: Annotated[Literal["yes", "no"], "as the template has it, for Triton"] = "no"
    gpt_model_type: Annotated[str, "requests join and leave the batch at every step; the other is static"] = (
        "inflight_fused_batching"
    )
    encoder_model_path: Annotated[str | None, _NO_ENCODER] = None
    max_tokens_in_paged_kv_cache: Annotated[int | None, "the share of memory decides"] = None
    max_attention_window_size: Annotated[Sequence[int] | None, "engines attend over everything"] = None
    sink_token_length: Annotated[int | None, "belongs to a window"] = None
    batch_scheduler_policy: Annotated[
        Literal["guaranteed_no_evict", "max_utilization"], "a running answer is never paused to make room"
    ] = "guaranteed_no_evict"
    cross_kv_cache_fraction: Annotated[float | None, _NO_ENCODER] = None
    kv_cache_host_memory_bytes: Annotated[int | None, "none: the machine's memory is the user's"] = None
    kv_cache_onboard_blocks: Annotated[bool | None, "belongs to blocks in the machine's memory"] = None
    exclude_input_in_output: Annotated[bool, "as ONNX engines: clients say so with each request"] = False
    cancellation_check_period_ms: Annotated[int, "a client that left is noticed within 100 ms"] = 100
    stats_check_period_ms: Annotated[int, _AS_UPSTREAM] = 100
    iter_stats_max_iterations: Annotated[int | None, _AS_UPSTREAM] = None
    request_stats_max_iterations: Annotated[int | None, _AS_UPSTREAM] = None
    normalize_log_probs: Annotated[
        bool, "log-probabilities are over the whole vocabulary: over the top-k tokens, a greedy one has 0"
    ] = False
    gpu_device_ids: Annotated[Sequence[int] | None, _PLACED] = None
    participant_ids: Annotated[Sequence[int] | None, _PLACED] = None
    num_nodes: Annotated[int | None, "one machine"] = None
    lora_cache_optimal_adapter_size: Annotated[int | None, _NO_LORA] = None
    lora_cache_max_adapter_size: Annotated[int | None, _NO_LORA] = None
    lora_cache_gpu_memory_fraction: Annotated[float | None, _NO_LORA] = None
    lora_cache_host_memory_bytes: Annotated[int | None, _NO_LORA] = None
    lora_prefetch_dir: Annotated[str | None, _NO_LORA] = None
    decoding_mode: Annotated[str, "what one beam gets anyway, without a warning in the log"] = "top_k_top_p"
    executor_worker_path: Annotated[str, "where NVIDIA's container has it; for orchestrator mode"] = (
        "/opt/tritonserver/backends/tensorrtllm/trtllmExecutorWorker"
    )
    lookahead_window_size: Annotated[int | None, _NO_DRAFTS] = None
    lookahead_ngram_size: Annotated[int | None, _NO_DRAFTS] = None
    lookahead_verification_set_size: Annotated[int | None, _NO_DRAFTS] = None
    medusa_choices: Annotated[str | None, _NO_DRAFTS] = None
    eagle_choices: Annotated[str | None, _NO_DRAFTS] = None
    gpu_weights_percent: Annotated[float | None, "all weights stay on the GPU"] = None
    enable_context_fmha_fp32_acc: Annotated[bool | None, _AS_UPSTREAM] = None
    multi_block_mode: Annotated[bool | None, _AS_UPSTREAM] = None
    cuda_graph_mode: Annotated[bool | None, "off: not measured yet"] = None
    cuda_graph_cache_size: Annotated[int | None, "belongs to CUDA graphs"] = None
    speculative_decoding_fast_logits: Annotated[bool | None, _NO_DRAFTS] = None

    def texts(self) -> dict[str, str]:
        """Text by name, in upstream's spelling, for config.pbtxt."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _text(value) for name, value in given.items() if value is not None}


def _text(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
        case _:
            return ",".join(map(str, value))
