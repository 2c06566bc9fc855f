"""The tensors of the four Triton models of an engine: ensemble, preprocessing, engine, postprocessing.

The ensemble and the engine stage have the names, types and shapes of TensorRT-LLM 1.2's
`inflight_batcher_llm` (NVIDIA/TensorRT-LLM, triton_backend/all_models/inflight_batcher_llm), so a client
written for it works unchanged. Where upstream leaves a type open, it is the type that an ONNX engine uses,
except for the logits of a compiled engine.
"""

from slipway.triton.tensor_spec import DataType, TensorSpec

# Upstream's template leaves the type of the logits open. NVIDIA's engine model compares it with the engine's
# own type and answers with an error where the two differ (fillTritonResponse in model_instance_state.cc).
# FP16 is the logits_dtype of the checkpoints that `build` writes.
LOGITS = frozenset({"context_logits", "generation_logits", "draft_logits"})
COMPILED_LOGITS: DataType = "FP16"

ENSEMBLE_INPUTS = (
    TensorSpec("text_input", "STRING", (1,)),
    TensorSpec("decoder_text_input", "STRING", (1,), optional=True),
    TensorSpec("max_tokens", "INT32", (1,)),
    TensorSpec("num_return_sequences", "INT32", (1,), optional=True),
    TensorSpec("bad_words", "STRING", (-1,), optional=True),
    TensorSpec("stop_words", "STRING", (-1,), optional=True),
    TensorSpec("exclude_input_in_output", "BOOL", (1,), optional=True),
    TensorSpec("end_id", "INT32", (1,), optional=True),
    TensorSpec("pad_id", "INT32", (1,), optional=True),
    TensorSpec("top_k", "INT32", (1,), optional=True),
    TensorSpec("top_p", "FP32", (1,), optional=True),
    TensorSpec("temperature", "FP32", (1,), optional=True),
    TensorSpec("length_penalty", "FP32", (1,), optional=True),
    TensorSpec("repetition_penalty", "FP32", (1,), optional=True),
    TensorSpec("min_tokens", "INT32", (1,), optional=True),
    TensorSpec("presence_penalty", "FP32", (1,), optional=True),
    TensorSpec("frequency_penalty", "FP32", (1,), optional=True),
    TensorSpec("seed", "UINT64", (1,), optional=True),
    TensorSpec("return_log_probs", "BOOL", (1,), optional=True),
    TensorSpec("return_context_logits", "BOOL", (1,), optional=True),
    TensorSpec("return_generation_logits", "BOOL", (1,), optional=True),
    TensorSpec("return_perf_metrics", "BOOL", (1,), optional=True),
    TensorSpec("return_num_input_tokens", "BOOL", (1,), optional=True),
    TensorSpec("return_num_output_tokens", "BOOL", (1,), optional=True),
    TensorSpec("beam_width", "INT32", (1,), optional=True),
    TensorSpec("stream", "BOOL", (1,), optional=True),
    TensorSpec("prompt_embedding_table", "FP16", (-1, -1), optional=True),
    TensorSpec("prompt_table_extra_id", "UINT64", (1,), optional=True),
    TensorSpec("prompt_vocab_size", "INT32", (1,), optional=True),
    TensorSpec("embedding_bias_words", "STRING", (-1,), optional=True),
    TensorSpec("embedding_bias_weights", "FP32", (-1,), optional=True),
    TensorSpec("lora_task_id", "UINT64", (1,), optional=True),
    TensorSpec("lora_weights", "FP16", (-1, -1), optional=True, ragged=True),
    TensorSpec("lora_config", "INT32", (-1, 3), optional=True, ragged=True),
    TensorSpec("guided_decoding_guide_type", "STRING", (1,), optional=True, ragged=True),
    TensorSpec("guided_decoding_guide", "STRING", (1,), optional=True, ragged=True),
)

# Outputs of the engine stage that the ensemble passes on unchanged.
_PASSED_ON = (
    TensorSpec("cum_log_probs", "FP32", (-1,)),
    TensorSpec("output_log_probs", "FP32", (-1, -1)),
    TensorSpec("context_logits", "FP32", (-1, -1)),
    TensorSpec("generation_logits", "FP32", (-1, -1, -1)),
    TensorSpec("batch_index", "INT32", (1,)),
    TensorSpec("sequence_index", "INT32", (1,)),
    TensorSpec("kv_cache_alloc_new_blocks", "INT32", (1,)),
    TensorSpec("kv_cache_reused_blocks", "INT32", (1,)),
    TensorSpec("kv_cache_alloc_total_blocks", "INT32", (1,)),
    TensorSpec("arrival_time_ns", "INT64", (1,)),
    TensorSpec("first_scheduled_time_ns", "INT64", (1,)),
    TensorSpec("first_token_time_ns", "INT64", (1,)),
    TensorSpec("last_token_time_ns", "INT64", (1,)),
    TensorSpec("acceptance_rate", "FP32", (1,)),
    TensorSpec("total_accepted_draft_tokens", "INT32", (1,)),
    TensorSpec("total_draft_tokens", "INT32", (1,)),
    TensorSpec("num_input_tokens", "INT32", (1,)),
    TensorSpec("num_output_tokens", "INT32", (1,)),
)

ENSEMBLE_OUTPUTS = (
    TensorSpec("text_output", "STRING", (-1,)),
    *_PASSED_ON,
)

# From here to ENGINE_INPUTS: our own tensors beside upstream's, all of them optional.
#
# prompt_token_ids: the prompt instead of text_input, which is then empty.
# stop_token_ids: tokens that end the answer, each a stop word.
# logit_bias_ids, logit_bias_values: the second is added to the logit of the token in the first.
OWN_INPUTS = (
    TensorSpec("prompt_token_ids", "INT32", (-1,), optional=True),
    TensorSpec("stop_token_ids", "INT32", (-1,), optional=True),
    TensorSpec("logit_bias_ids", "INT32", (-1,), optional=True),
    TensorSpec("logit_bias_values", "FP32", (-1,), optional=True),
)

# end_of_sequence: whether the last token of this response is an end-of-sequence token, which has no text.
# NVIDIA's engine model omits one such token, the `end_id`. The others end the answer as stop words and count
# in `num_output_tokens`.
# output_ids [beam, tokens], sequence_length [beam]: those of the engine stage.
OWN_OUTPUTS = (
    TensorSpec("end_of_sequence", "BOOL", (1,)),
    TensorSpec("output_ids", "INT32", (-1, -1)),
    TensorSpec("sequence_length", "INT32", (-1,)),
)

# For ONNX engines only: NVIDIA's engine model has no such tensors.
#
# min_p: as in `SamplingParams`. num_top_log_probs: the number of likeliest tokens to report for each.
# num_prompt_log_probs: the same for each token of the prompt; 0 reports the token itself.
# return_end_token: whether output_ids and what belongs to them include the token that ended the answer.
ONNX_INPUTS = (
    TensorSpec("min_p", "FP32", (1,), optional=True),
    TensorSpec("num_top_log_probs", "INT32", (1,), optional=True),
    TensorSpec("num_prompt_log_probs", "INT32", (1,), optional=True),
    TensorSpec("return_end_token", "BOOL", (1,), optional=True),
)

# cached_tokens: of the prompt, in the first response. finish_reason: stop, length or cancelled, in the last.
# top_log_prob_ids, top_log_probs [beam, tokens, num_top_log_probs]: the likeliest first. Unused places have
# the id -1.
# prompt_log_probs, prompt_ranks [tokens - 1]: of the prompt's tokens but the first, in the first response.
# The rank of the likeliest is 1. top_prompt_log_prob_ids and top_prompt_log_probs are [tokens - 1,
# num_prompt_log_probs], as above. Upstream's context_logits would be the whole vocabulary for each token.
ONNX_OUTPUTS = (
    TensorSpec("cached_tokens", "INT32", (1,)),
    TensorSpec("finish_reason", "STRING", (1,)),
    TensorSpec("top_log_prob_ids", "INT32", (-1, -1, -1)),
    TensorSpec("top_log_probs", "FP32", (-1, -1, -1)),
    TensorSpec("prompt_log_probs", "FP32", (-1,)),
    TensorSpec("prompt_ranks", "INT32", (-1,)),
    TensorSpec("top_prompt_log_prob_ids", "INT32", (-1, -1)),
    TensorSpec("top_prompt_log_probs", "FP32", (-1, -1)),
)

ENGINE_INPUTS = (
    TensorSpec("input_ids", "INT32", (-1,), optional=True, ragged=True),
    TensorSpec("encoder_input_features", "FP16", (-1, -1), optional=True, ragged=True),
    TensorSpec("encoder_output_lengths", "INT32", (1,), optional=True, reshape=()),
    TensorSpec("input_lengths", "INT32", (1,), reshape=()),
    TensorSpec("request_output_len", "INT32", (1,), reshape=()),
    TensorSpec("num_return_sequences", "INT32", (1,), optional=True, reshape=()),
    TensorSpec("draft_input_ids", "INT32", (-1,), optional=True, ragged=True),
    TensorSpec("decoder_input_ids", "INT32", (-1,), optional=True, ragged=True),
    TensorSpec("decoder_input_lengths", "INT32", (1,), optional=True, reshape=()),
    TensorSpec("draft_logits", "FP32", (-1, -1), optional=True, ragged=True),
    TensorSpec("draft_acceptance_threshold", "FP32", (1,), optional=True, reshape=()),
    TensorSpec("end_id", "INT32", (1,), optional=True, reshape=()),
    TensorSpec("pad_id", "INT32", (1,), optional=True, reshape=()),
    TensorSpec("stop_words_list", "INT32", (2, -1), optional=True, ragged=True),
    TensorSpec("bad_words_list", "INT32", (2, -1), optional=True, ragged=True),
    TensorSpec("embedding_bias", "FP32", (-1,), optional=True, ragged=True),
    TensorSpec("beam_width", "INT32", (1,), optional=True, reshape=()),
    TensorSpec("temperature", "FP32", (1,), optional=True, reshape=()),
    TensorSpec("runtime_top_k", "INT32", (1,), optional=True, reshape=()),
    TensorSpec("runtime_top_p", "FP32", (1,), optional=True, reshape=()),
    TensorSpec("runtime_top_p_min", "FP32", (1,), optional=True, reshape=()),
    TensorSpec("runtime_top_p_decay", "FP32", (1,), optional=True, reshape=()),
    TensorSpec("runtime_top_p_reset_ids", "INT32", (1,), optional=True, reshape=()),
    TensorSpec("len_penalty", "FP32", (1,), optional=True, reshape=()),
    TensorSpec("early_stopping", "BOOL", (1,), optional=True, reshape=()),
    TensorSpec("repetition_penalty", "FP32", (1,), optional=True, reshape=()),
    TensorSpec("min_tokens", "INT32", (1,), optional=True, reshape=()),
    TensorSpec("beam_search_diversity_rate", "FP32", (1,), optional=True, reshape=()),
    TensorSpec("presence_penalty", "FP32", (1,), optional=True, reshape=()),
    TensorSpec("frequency_penalty", "FP32", (1,), optional=True, reshape=()),
    TensorSpec("seed", "UINT64", (1,), optional=True, reshape=()),
    TensorSpec("return_log_probs", "BOOL", (1,), optional=True, reshape=()),
    TensorSpec("return_context_logits", "BOOL", (1,), optional=True, reshape=()),
    TensorSpec("return_generation_logits", "BOOL", (1,), optional=True, reshape=()),
    TensorSpec("return_perf_metrics", "BOOL", (1,), optional=True, reshape=()),
    TensorSpec("return_num_input_tokens", "BOOL", (1,), optional=True, reshape=()),
    TensorSpec("return_num_output_tokens", "BOOL", (1,), optional=True, reshape=()),
    TensorSpec("exclude_input_in_output", "BOOL", (1,), optional=True, reshape=()),
    TensorSpec("stop", "BOOL", (1,), optional=True, reshape=()),
    TensorSpec("streaming", "BOOL", (1,), optional=True, reshape=()),
    TensorSpec("prompt_embedding_table", "FP16", (-1, -1), optional=True, ragged=True),
    TensorSpec("prompt_table_extra_ids", "UINT64", (-1,), optional=True, ragged=True),
    TensorSpec("prompt_vocab_size", "INT32", (1,), optional=True, reshape=()),
    TensorSpec("cross_attention_mask", "BOOL", (-1, -1), optional=True, ragged=True),
    TensorSpec("mrope_rotary_cos_sin", "FP32", (-1,), optional=True),
    TensorSpec("mrope_position_deltas", "INT64", (1,), optional=True),
    TensorSpec("lora_task_id", "UINT64", (1,), optional=True, reshape=()),
    TensorSpec("lora_weights", "FP16", (-1, -1), optional=True, ragged=True),
    TensorSpec("lora_config", "INT32", (-1, 3), optional=True, ragged=True),
    TensorSpec("context_phase_params", "UINT8", (-1,), optional=True, ragged=True),
    TensorSpec("skip_cross_attn_blocks", "BOOL", (1,), optional=True, ragged=True),
    TensorSpec("retention_token_range_starts", "INT32", (-1,), optional=True, ragged=True),
    TensorSpec("retention_token_range_ends", "INT32", (-1,), optional=True, ragged=True),
    TensorSpec("retention_token_range_priorities", "INT32", (-1,), optional=True, ragged=True),
    TensorSpec("retention_token_range_durations_ms", "INT32", (-1,), optional=True, ragged=True),
    TensorSpec("retention_decode_priority", "INT32", (1,), optional=True, ragged=True),
    TensorSpec("retention_decode_duration_ms", "INT32", (1,), optional=True, ragged=True),
    TensorSpec("guided_decoding_guide_type", "STRING", (1,), optional=True, ragged=True),
    TensorSpec("guided_decoding_guide", "STRING", (1,), optional=True, ragged=True),
    TensorSpec("lookahead_window_size", "INT32", (1,), optional=True, ragged=True),
    TensorSpec("lookahead_ngram_size", "INT32", (1,), optional=True, ragged=True),
    TensorSpec("lookahead_verification_set_size", "INT32", (1,), optional=True, ragged=True),
)

ENGINE_OUTPUTS = (
    TensorSpec("output_ids", "INT32", (-1, -1)),
    TensorSpec("sequence_length", "INT32", (-1,)),
    TensorSpec("context_phase_params", "UINT8", (-1,)),
    *_PASSED_ON,
)

PREPROCESSING_INPUTS = (
    TensorSpec("QUERY", "STRING", (1,)),
    TensorSpec("DECODER_QUERY", "STRING", (1,), optional=True),
    TensorSpec("REQUEST_OUTPUT_LEN", "INT32", (1,)),
    TensorSpec("BAD_WORDS_DICT", "STRING", (-1,), optional=True),
    TensorSpec("STOP_WORDS_DICT", "STRING", (-1,), optional=True),
    TensorSpec("EMBEDDING_BIAS_WORDS", "STRING", (-1,), optional=True),
    TensorSpec("EMBEDDING_BIAS_WEIGHTS", "FP32", (-1,), optional=True),
    TensorSpec("PROMPT_TOKEN_IDS", "INT32", (-1,), optional=True),
    TensorSpec("STOP_TOKEN_IDS", "INT32", (-1,), optional=True),
    TensorSpec("LOGIT_BIAS_IDS", "INT32", (-1,), optional=True),
    TensorSpec("LOGIT_BIAS_VALUES", "FP32", (-1,), optional=True),
    TensorSpec("END_ID", "INT32", (1,), optional=True),
    TensorSpec("PAD_ID", "INT32", (1,), optional=True),
    TensorSpec("PROMPT_TABLE_EXTRA_ID", "UINT64", (1,), optional=True),
    TensorSpec("RETURN_PERF_METRICS", "BOOL", (1,), optional=True),
    TensorSpec("NUM_RETURN_SEQUENCES", "INT32", (1,), optional=True),
    TensorSpec("RETURN_GENERATION_LOGITS", "BOOL", (1,), optional=True),
)

PREPROCESSING_OUTPUTS = (
    TensorSpec("INPUT_ID", "INT32", (-1,)),
    TensorSpec("REQUEST_INPUT_LEN", "INT32", (1,)),
    TensorSpec("REQUEST_OUTPUT_LEN", "INT32", (1,)),
    TensorSpec("BAD_WORDS_IDS", "INT32", (2, -1)),
    TensorSpec("STOP_WORDS_IDS", "INT32", (2, -1)),
    TensorSpec("EMBEDDING_BIAS", "FP32", (-1,)),
    TensorSpec("OUT_END_ID", "INT32", (1,)),
    TensorSpec("OUT_PAD_ID", "INT32", (1,)),
    TensorSpec("RETURN_PERF_METRICS", "BOOL", (1,)),
)

# A stage that runs once per response of a decoupled stage may take inputs from that stage only (Triton:
# "receives inputs originated from different decoupled models"). The client's request id may be missing or not
# unique. So the stream of a response is named by the request's arrival, in nanoseconds of a steady clock,
# which both kinds of engine report when preprocessing asks for metrics. Only the last response of a stream
# has the time of the last token (updatePerfMetrics in cpp/include/tensorrt_llm/batch_manager).
POSTPROCESSING_INPUTS = (
    TensorSpec("TOKENS_BATCH", "INT32", (-1, -1)),
    TensorSpec("SEQUENCE_LENGTH", "INT32", (-1,)),
    TensorSpec("ARRIVAL_TIME", "INT64", (1,)),
    TensorSpec("LAST_TOKEN_TIME", "INT64", (1,)),
)

POSTPROCESSING_OUTPUTS = (
    TensorSpec("OUTPUT", "STRING", (-1,)),
    TensorSpec("END_OF_SEQUENCE", "BOOL", (1,)),
    *POSTPROCESSING_INPUTS,
)

# The ensemble's names for inputs of the engine stage, where the two differ.
CLIENT_NAMES = {
    "request_output_len": "max_tokens",
    "bad_words_list": "bad_words",
    "stop_words_list": "stop_words",
    "runtime_top_k": "top_k",
    "runtime_top_p": "top_p",
    "len_penalty": "length_penalty",
    "streaming": "stream",
}
