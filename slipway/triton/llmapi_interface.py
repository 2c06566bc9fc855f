"""The tensors of an engine for TensorRT-LLM's PyTorch backend.

Names, types and shapes are those of TensorRT-LLM 1.2's `llmapi` model (NVIDIA/TensorRT-LLM,
triton_backend/all_models/llmapi). It has no batch dimension.
"""

from slipway.triton.tensor_spec import TensorSpec

INPUTS = (
    TensorSpec("text_input", "STRING", (-1,)),
    TensorSpec("streaming", "BOOL", (1,), optional=True),
    TensorSpec("sampling_param_best_of", "INT32", (1,), optional=True),
    TensorSpec("sampling_param_temperature", "FP32", (1,), optional=True),
    TensorSpec("sampling_param_top_k", "INT32", (1,), optional=True),
    TensorSpec("sampling_param_top_p", "FP32", (1,), optional=True),
    TensorSpec("sampling_param_frequency_penalty", "FP32", (1,), optional=True),
    TensorSpec("sampling_param_presence_penalty", "FP32", (1,), optional=True),
    TensorSpec("sampling_param_max_tokens", "INT32", (1,), optional=True),
    TensorSpec("sampling_param_stop", "STRING", (-1,), optional=True),
    TensorSpec("sampling_param_seed", "UINT64", (1,), optional=True),
    TensorSpec("sampling_param_exclude_input_from_output", "BOOL", (1,), optional=True),
    TensorSpec("sampling_param_return_perf_metrics", "BOOL", (1,), optional=True),
    TensorSpec("return_finish_reason", "BOOL", (1,), optional=True),
    TensorSpec("return_stop_reason", "BOOL", (1,), optional=True),
    TensorSpec("return_cumulative_logprob", "BOOL", (1,), optional=True),
    TensorSpec("stop", "BOOL", (1,), optional=True),
)

OUTPUTS = (
    TensorSpec("text_output", "STRING", (-1,)),
    TensorSpec("finish_reason", "STRING", (-1,)),
    TensorSpec("stop_reason", "STRING", (-1,)),
    TensorSpec("cumulative_logprob", "FP32", (-1,)),
    TensorSpec("kv_cache_reused_block", "INT32", (-1,)),
    TensorSpec("kv_cache_missed_block", "INT32", (-1,)),
    TensorSpec("kv_cache_alloc_new_blocks", "INT32", (-1,)),
    TensorSpec("kv_cache_alloc_total_blocks", "INT32", (-1,)),
    TensorSpec("kv_cache_hit_rate", "FP32", (-1,)),
    TensorSpec("arrival_time_ns", "INT64", (1,)),
    TensorSpec("first_scheduled_time_ns", "INT64", (1,)),
    TensorSpec("first_token_time_ns", "INT64", (1,)),
    TensorSpec("last_token_time_ns", "INT64", (1,)),
    TensorSpec("acceptance_rate", "FP32", (1,)),
    TensorSpec("total_accepted_draft_tokens", "INT32", (1,)),
    TensorSpec("total_draft_tokens", "INT32", (1,)),
)

# Our own: tokens that end the answer and are not part of it, as in SamplingParams of `tensorrt_llm`.
STOP_TOKEN_IDS = TensorSpec("sampling_param_stop_token_ids", "INT32", (-1,), optional=True)

# Our own: the number of tokens of the answer so far, without its end-of-sequence token. Upstream does not
# report it.
TOKENS_SO_FAR = TensorSpec("num_output_tokens", "INT32", (1,))
