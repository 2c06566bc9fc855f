"""The tensors of an engine for TensorRT-LLM's PyTorch backend; `ensemble.models` puts them into config.pbtxt.

Names, types and shapes are those of TensorRT-LLM 1.2's `llmapi` model (NVIDIA/TensorRT-LLM,
triton_backend/all_models/llmapi). It has no batch dimension.
"""

from slipway.triton.tensor import Tensor

INPUTS = (
    Tensor("text_input", "STRING", (-1,)),
    Tensor("streaming", "BOOL", (1,), optional=True),
    Tensor("sampling_param_best_of", "INT32", (1,), optional=True),
    Tensor("sampling_param_temperature", "FP32", (1,), optional=True),
    Tensor("sampling_param_top_k", "INT32", (1,), optional=True),
    Tensor("sampling_param_top_p", "FP32", (1,), optional=True),
    Tensor("sampling_param_frequency_penalty", "FP32", (1,), optional=True),
    Tensor("sampling_param_presence_penalty", "FP32", (1,), optional=True),
    Tensor("sampling_param_max_tokens", "INT32", (1,), optional=True),
    Tensor("sampling_param_stop", "STRING", (-1,), optional=True),
    Tensor("sampling_param_seed", "UINT64", (1,), optional=True),
    Tensor("sampling_param_exclude_input_from_output", "BOOL", (1,), optional=True),
    Tensor("sampling_param_return_perf_metrics", "BOOL", (1,), optional=True),
    Tensor("return_finish_reason", "BOOL", (1,), optional=True),
    Tensor("return_stop_reason", "BOOL", (1,), optional=True),
    Tensor("return_cumulative_logprob", "BOOL", (1,), optional=True),
    Tensor("stop", "BOOL", (1,), optional=True),
)

OUTPUTS = (
    Tensor("text_output", "STRING", (-1,)),
    Tensor("finish_reason", "STRING", (-1,)),
    Tensor("stop_reason", "STRING", (-1,)),
    Tensor("cumulative_logprob", "FP32", (-1,)),
    Tensor("kv_cache_reused_block", "INT32", (-1,)),
    Tensor("kv_cache_missed_block", "INT32", (-1,)),
    Tensor("kv_cache_alloc_new_blocks", "INT32", (-1,)),
    Tensor("kv_cache_alloc_total_blocks", "INT32", (-1,)),
    Tensor("kv_cache_hit_rate", "FP32", (-1,)),
    Tensor("arrival_time_ns", "INT64", (1,)),
    Tensor("first_scheduled_time_ns", "INT64", (1,)),
    Tensor("first_token_time_ns", "INT64", (1,)),
    Tensor("last_token_time_ns", "INT64", (1,)),
    Tensor("acceptance_rate", "FP32", (1,)),
    Tensor("total_accepted_draft_tokens", "INT32", (1,)),
    Tensor("total_draft_tokens", "INT32", (1,)),
)

# Our own addition: tokens of the answer so far, its end-of-sequence token not counted. Upstream says nowhere
# how many there are.
TOKENS_SO_FAR = Tensor("num_output_tokens", "INT32", (1,))
