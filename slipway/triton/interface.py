"""The tensors of the four Triton models; `ensemble.models` puts them into config.pbtxt.

The ensemble and the engine stage have the names, types and shapes of TensorRT-LLM 1.2's
`inflight_batcher_llm` (NVIDIA/TensorRT-LLM, triton_backend/all_models/inflight_batcher_llm), so a client
written for it works unchanged. Where upstream leaves a type open, it is the one an ONNX engine would use, but
for the logits of a compiled one.
"""

from slipway.triton.tensor import DataType, Tensor

# Where upstream leaves the type of the logits to who fills in its template. NVIDIA's engine model holds it
# against what the engine gives, and answers with an error where the two differ (fillTritonResponse in
# model_instance_state.cc): FP16, the logits_dtype of the checkpoints that `build` writes.
LOGITS = frozenset({"context_logits", "generation_logits", "draft_logits"})
COMPILED_LOGITS: DataType = "FP16"

ENSEMBLE_INPUTS = (
    Tensor("text_input", "STRING", (1,)),
    Tensor("decoder_text_input", "STRING", (1,), optional=True),
    Tensor("max_tokens", "INT32", (1,)),
    Tensor("num_return_sequences", "INT32", (1,), optional=True),
    Tensor("bad_words", "STRING", (-1,), optional=True),
    Tensor("stop_words", "STRING", (-1,), optional=True),
    Tensor("exclude_input_in_output", "BOOL", (1,), optional=True),
    Tensor("end_id", "INT32", (1,), optional=True),
    Tensor("pad_id", "INT32", (1,), optional=True),
    Tensor("top_k", "INT32", (1,), optional=True),
    Tensor("top_p", "FP32", (1,), optional=True),
    Tensor("temperature", "FP32", (1,), optional=True),
    Tensor("length_penalty", "FP32", (1,), optional=True),
    Tensor("repetition_penalty", "FP32", (1,), optional=True),
    Tensor("min_tokens", "INT32", (1,), optional=True),
    Tensor("presence_penalty", "FP32", (1,), optional=True),
    Tensor("frequency_penalty", "FP32", (1,), optional=True),
    Tensor("seed", "UINT64", (1,), optional=True),
    Tensor("return_log_probs", "BOOL", (1,), optional=True),
    Tensor("return_context_logits", "BOOL", (1,), optional=True),
    Tensor("return_generation_logits", "BOOL", (1,), optional=True),
    Tensor("return_perf_metrics", "BOOL", (1,), optional=True),
    Tensor("return_num_input_tokens", "BOOL", (1,), optional=True),
    Tensor("return_num_output_tokens", "BOOL", (1,), optional=True),
    Tensor("beam_width", "INT32", (1,), optional=True),
    Tensor("stream", "BOOL", (1,), optional=True),
    Tensor("prompt_embedding_table", "FP16", (-1, -1), optional=True),
    Tensor("prompt_table_extra_id", "UINT64", (1,), optional=True),
    Tensor("prompt_vocab_size", "INT32", (1,), optional=True),
    Tensor("embedding_bias_words", "STRING", (-1,), optional=True),
    Tensor("embedding_bias_weights", "FP32", (-1,), optional=True),
    Tensor("lora_task_id", "UINT64", (1,), optional=True),
    Tensor("lora_weights", "FP16", (-1, -1), optional=True, ragged=True),
    Tensor("lora_config", "INT32", (-1, 3), optional=True, ragged=True),
    Tensor("guided_decoding_guide_type", "STRING", (1,), optional=True, ragged=True),
    Tensor("guided_decoding_guide", "STRING", (1,), optional=True, ragged=True),
)

# What the ensemble passes on from the engine stage as it is.
_PASSED_ON = (
    Tensor("cum_log_probs", "FP32", (-1,)),
    Tensor("output_log_probs", "FP32", (-1, -1)),
    Tensor("context_logits", "FP32", (-1, -1)),
    Tensor("generation_logits", "FP32", (-1, -1, -1)),
    Tensor("batch_index", "INT32", (1,)),
    Tensor("sequence_index", "INT32", (1,)),
    Tensor("kv_cache_alloc_new_blocks", "INT32", (1,)),
    Tensor("kv_cache_reused_blocks", "INT32", (1,)),
    Tensor("kv_cache_alloc_total_blocks", "INT32", (1,)),
    Tensor("arrival_time_ns", "INT64", (1,)),
    Tensor("first_scheduled_time_ns", "INT64", (1,)),
    Tensor("first_token_time_ns", "INT64", (1,)),
    Tensor("last_token_time_ns", "INT64", (1,)),
    Tensor("acceptance_rate", "FP32", (1,)),
    Tensor("total_accepted_draft_tokens", "INT32", (1,)),
    Tensor("total_draft_tokens", "INT32", (1,)),
    Tensor("num_input_tokens", "INT32", (1,)),
    Tensor("num_output_tokens", "INT32", (1,)),
)

ENSEMBLE_OUTPUTS = (
    Tensor("text_output", "STRING", (-1,)),
    *_PASSED_ON,
)

# What follows until ENGINE_INPUTS is our own, beside upstream's; all of it is optional.
#
# prompt_token_ids: the prompt, in the place of text_input, which is then empty.
# logit_bias_ids, logit_bias_values: what is added to the logit of each of these tokens.
OWN_INPUTS = (
    Tensor("prompt_token_ids", "INT32", (-1,), optional=True),
    Tensor("logit_bias_ids", "INT32", (-1,), optional=True),
    Tensor("logit_bias_values", "FP32", (-1,), optional=True),
)

# end_of_sequence: the last token of this response is an end-of-sequence token, which has no text. NVIDIA's
# engine model leaves out one such token, the `end_id`; others end the answer as stop words, and are in
# `num_output_tokens`.
# output_ids [beam, tokens], sequence_length [beam]: as the engine stage gives them.
OWN_OUTPUTS = (
    Tensor("end_of_sequence", "BOOL", (1,)),
    Tensor("output_ids", "INT32", (-1, -1)),
    Tensor("sequence_length", "INT32", (-1,)),
)

# What NVIDIA's engine model has no tensors for; they are there for ONNX engines alone.
#
# min_p: as in `SamplingParams`. num_top_log_probs: with each token, report so many of the likeliest.
ONNX_INPUTS = (
    Tensor("min_p", "FP32", (1,), optional=True),
    Tensor("num_top_log_probs", "INT32", (1,), optional=True),
)

# cached_tokens: of the prompt, in the first response. finish_reason: stop, length or cancelled, in the last.
# top_log_prob_ids, top_log_probs [beam, tokens, num_top_log_probs]: the likeliest first; where fewer are
# possible at all, the id is -1.
ONNX_OUTPUTS = (
    Tensor("cached_tokens", "INT32", (1,)),
    Tensor("finish_reason", "STRING", (1,)),
    Tensor("top_log_prob_ids", "INT32", (-1, -1, -1)),
    Tensor("top_log_probs", "FP32", (-1, -1, -1)),
)

ENGINE_INPUTS = (
    Tensor("input_ids", "INT32", (-1,), optional=True, ragged=True),
    Tensor("encoder_input_features", "FP16", (-1, -1), optional=True, ragged=True),
    Tensor("encoder_output_lengths", "INT32", (1,), optional=True, reshape=()),
    Tensor("input_lengths", "INT32", (1,), reshape=()),
    Tensor("request_output_len", "INT32", (1,), reshape=()),
    Tensor("num_return_sequences", "INT32", (1,), optional=True, reshape=()),
    Tensor("draft_input_ids", "INT32", (-1,), optional=True, ragged=True),
    Tensor("decoder_input_ids", "INT32", (-1,), optional=True, ragged=True),
    Tensor("decoder_input_lengths", "INT32", (1,), optional=True, reshape=()),
    Tensor("draft_logits", "FP32", (-1, -1), optional=True, ragged=True),
    Tensor("draft_acceptance_threshold", "FP32", (1,), optional=True, reshape=()),
    Tensor("end_id", "INT32", (1,), optional=True, reshape=()),
    Tensor("pad_id", "INT32", (1,), optional=True, reshape=()),
    Tensor("stop_words_list", "INT32", (2, -1), optional=True, ragged=True),
    Tensor("bad_words_list", "INT32", (2, -1), optional=True, ragged=True),
    Tensor("embedding_bias", "FP32", (-1,), optional=True, ragged=True),
    Tensor("beam_width", "INT32", (1,), optional=True, reshape=()),
    Tensor("temperature", "FP32", (1,), optional=True, reshape=()),
    Tensor("runtime_top_k", "INT32", (1,), optional=True, reshape=()),
    Tensor("runtime_top_p", "FP32", (1,), optional=True, reshape=()),
    Tensor("runtime_top_p_min", "FP32", (1,), optional=True, reshape=()),
    Tensor("runtime_top_p_decay", "FP32", (1,), optional=True, reshape=()),
    Tensor("runtime_top_p_reset_ids", "INT32", (1,), optional=True, reshape=()),
    Tensor("len_penalty", "FP32", (1,), optional=True, reshape=()),
    Tensor("early_stopping", "BOOL", (1,), optional=True, reshape=()),
    Tensor("repetition_penalty", "FP32", (1,), optional=True, reshape=()),
    Tensor("min_tokens", "INT32", (1,), optional=True, reshape=()),
    Tensor("beam_search_diversity_rate", "FP32", (1,), optional=True, reshape=()),
    Tensor("presence_penalty", "FP32", (1,), optional=True, reshape=()),
    Tensor("frequency_penalty", "FP32", (1,), optional=True, reshape=()),
    Tensor("seed", "UINT64", (1,), optional=True, reshape=()),
    Tensor("return_log_probs", "BOOL", (1,), optional=True, reshape=()),
    Tensor("return_context_logits", "BOOL", (1,), optional=True, reshape=()),
    Tensor("return_generation_logits", "BOOL", (1,), optional=True, reshape=()),
    Tensor("return_perf_metrics", "BOOL", (1,), optional=True, reshape=()),
    Tensor("return_num_input_tokens", "BOOL", (1,), optional=True, reshape=()),
    Tensor("return_num_output_tokens", "BOOL", (1,), optional=True, reshape=()),
    Tensor("exclude_input_in_output", "BOOL", (1,), optional=True, reshape=()),
    Tensor("stop", "BOOL", (1,), optional=True, reshape=()),
    Tensor("streaming", "BOOL", (1,), optional=True, reshape=()),
    Tensor("prompt_embedding_table", "FP16", (-1, -1), optional=True, ragged=True),
    Tensor("prompt_table_extra_ids", "UINT64", (-1,), optional=True, ragged=True),
    Tensor("prompt_vocab_size", "INT32", (1,), optional=True, reshape=()),
    Tensor("cross_attention_mask", "BOOL", (-1, -1), optional=True, ragged=True),
    Tensor("mrope_rotary_cos_sin", "FP32", (-1,), optional=True),
    Tensor("mrope_position_deltas", "INT64", (1,), optional=True),
    Tensor("lora_task_id", "UINT64", (1,), optional=True, reshape=()),
    Tensor("lora_weights", "FP16", (-1, -1), optional=True, ragged=True),
    Tensor("lora_config", "INT32", (-1, 3), optional=True, ragged=True),
    Tensor("context_phase_params", "UINT8", (-1,), optional=True, ragged=True),
    Tensor("skip_cross_attn_blocks", "BOOL", (1,), optional=True, ragged=True),
    Tensor("retention_token_range_starts", "INT32", (-1,), optional=True, ragged=True),
    Tensor("retention_token_range_ends", "INT32", (-1,), optional=True, ragged=True),
    Tensor("retention_token_range_priorities", "INT32", (-1,), optional=True, ragged=True),
    Tensor("retention_token_range_durations_ms", "INT32", (-1,), optional=True, ragged=True),
    Tensor("retention_decode_priority", "INT32", (1,), optional=True, ragged=True),
    Tensor("retention_decode_duration_ms", "INT32", (1,), optional=True, ragged=True),
    Tensor("guided_decoding_guide_type", "STRING", (1,), optional=True, ragged=True),
    Tensor("guided_decoding_guide", "STRING", (1,), optional=True, ragged=True),
    Tensor("lookahead_window_size", "INT32", (1,), optional=True, ragged=True),
    Tensor("lookahead_ngram_size", "INT32", (1,), optional=True, ragged=True),
    Tensor("lookahead_verification_set_size", "INT32", (1,), optional=True, ragged=True),
)

ENGINE_OUTPUTS = (
    Tensor("output_ids", "INT32", (-1, -1)),
    Tensor("sequence_length", "INT32", (-1,)),
    Tensor("context_phase_params", "UINT8", (-1,)),
    *_PASSED_ON,
)

PREPROCESSING_INPUTS = (
    Tensor("QUERY", "STRING", (1,)),
    Tensor("DECODER_QUERY", "STRING", (1,), optional=True),
    Tensor("REQUEST_OUTPUT_LEN", "INT32", (1,)),
    Tensor("BAD_WORDS_DICT", "STRING", (-1,), optional=True),
    Tensor("STOP_WORDS_DICT", "STRING", (-1,), optional=True),
    Tensor("EMBEDDING_BIAS_WORDS", "STRING", (-1,), optional=True),
    Tensor("EMBEDDING_BIAS_WEIGHTS", "FP32", (-1,), optional=True),
    Tensor("PROMPT_TOKEN_IDS", "INT32", (-1,), optional=True),
    Tensor("LOGIT_BIAS_IDS", "INT32", (-1,), optional=True),
    Tensor("LOGIT_BIAS_VALUES", "FP32", (-1,), optional=True),
    Tensor("END_ID", "INT32", (1,), optional=True),
    Tensor("PAD_ID", "INT32", (1,), optional=True),
    Tensor("PROMPT_TABLE_EXTRA_ID", "UINT64", (1,), optional=True),
    Tensor("RETURN_PERF_METRICS", "BOOL", (1,), optional=True),
)

PREPROCESSING_OUTPUTS = (
    Tensor("INPUT_ID", "INT32", (-1,)),
    Tensor("REQUEST_INPUT_LEN", "INT32", (1,)),
    Tensor("REQUEST_OUTPUT_LEN", "INT32", (1,)),
    Tensor("BAD_WORDS_IDS", "INT32", (2, -1)),
    Tensor("STOP_WORDS_IDS", "INT32", (2, -1)),
    Tensor("EMBEDDING_BIAS", "FP32", (-1,)),
    Tensor("OUT_END_ID", "INT32", (1,)),
    Tensor("OUT_PAD_ID", "INT32", (1,)),
    Tensor("RETURN_PERF_METRICS", "BOOL", (1,)),
)

# Triton feeds a stage that runs once per response from that one upstream stage only ("receives inputs
# originated from different decoupled models"), and the client's request id may be missing or not unique. So
# the request's arrival, in nanoseconds of a steady clock, names the stream that a response belongs to; both
# engines have it with every response when preprocessing asks for metrics. The time of the last token is set
# in a stream's last response alone (updatePerfMetrics in cpp/include/tensorrt_llm/batch_manager).
POSTPROCESSING_INPUTS = (
    Tensor("TOKENS_BATCH", "INT32", (-1, -1)),
    Tensor("SEQUENCE_LENGTH", "INT32", (-1,)),
    Tensor("ARRIVAL_TIME", "INT64", (1,)),
    Tensor("LAST_TOKEN_TIME", "INT64", (1,)),
)

POSTPROCESSING_OUTPUTS = (
    Tensor("OUTPUT", "STRING", (-1,)),
    Tensor("END_OF_SEQUENCE", "BOOL", (1,)),
)

# What a client of the ensemble calls the engine's inputs, where the two names differ.
CLIENT_NAMES = {
    "request_output_len": "max_tokens",
    "bad_words_list": "bad_words",
    "stop_words_list": "stop_words",
    "runtime_top_k": "top_k",
    "runtime_top_p": "top_p",
    "len_penalty": "length_penalty",
    "streaming": "stream",
}
