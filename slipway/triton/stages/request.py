"""A request to the engine stage, parsed from its tensors.

Meanings and defaults are TensorRT-LLM's (triton_backend/inflight_batcher_llm/src/utils.cc and
cpp/tensorrt_llm/layers/defaultDecodingParams.h), with two exceptions:
- The seed. Upstream's default is 0, so every answer is the same; here each request draws its own.
- Penalties. Upstream counts the prompt for presence and frequency too, and applies all three after the
  temperature (cpp/tensorrt_llm/kernels/penaltyKernels.cu). Here they mean what OpenAI's API says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slipway.contract.engine_tensors import unpack_words
from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar, GrammarKind, SamplingParams
from slipway.triton.interface import CLIENT_NAMES

Array = npt.NDArray[Any]
NO_END_ID = -1
_GUIDE_TYPES: Mapping[str, GrammarKind] = {
    "json": "json_schema",
    "json_schema": "json_schema",
    "regex": "regex",
    "ebnf_grammar": "ebnf_grammar",
}


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One prompt for the engine, and how to send its answer.

    streaming: one response per step, else one with the whole answer.
    echo: begin a whole answer with the prompt (upstream's `exclude_input_in_output` unset).
    count_input, count_output: report num_input_tokens, num_output_tokens.
    times: report the arrival of the request and the times of its tokens.
    """

    prompt_token_ids: tuple[int, ...]
    sampling: SamplingParams
    streaming: bool
    echo: bool
    count_input: bool
    count_output: bool
    times: bool


def _not(neutral: float) -> Callable[[Array], bool]:
    return lambda value: bool((value != neutral).any())


def _given(value: Array) -> bool:
    return value.size > 0


# Inputs that this engine does not support, and whether a value would change the answer.
REFUSED: Mapping[str, Callable[[Array], bool]] = {
    "num_return_sequences": _not(1),
    "beam_width": _not(1),
    "runtime_top_p_decay": _not(1),
    "return_context_logits": _not(False),
    "return_generation_logits": _not(False),
    "draft_input_ids": _given,
    "draft_logits": _given,
    "prompt_embedding_table": _given,
    "encoder_input_features": _given,
    "cross_attention_mask": _given,
    "mrope_rotary_cos_sin": _given,
    "mrope_position_deltas": _given,
    "skip_cross_attn_blocks": _given,
    "lora_task_id": _given,
    "lora_weights": _given,
    "lora_config": _given,
    "context_phase_params": _given,
}

# Inputs without effect on the single answer of a decoder. They belong to beams, padding, encoders or the
# refused inputs above, or they tune the KV cache and speculation.
WITHOUT_EFFECT = frozenset(
    {
        "pad_id",
        "len_penalty",
        "early_stopping",
        "beam_search_diversity_rate",
        "runtime_top_p_min",
        "runtime_top_p_reset_ids",
        "draft_acceptance_threshold",
        "encoder_output_lengths",
        "decoder_input_ids",
        "decoder_input_lengths",
        "prompt_table_extra_ids",
        "prompt_vocab_size",
        "retention_token_range_starts",
        "retention_token_range_ends",
        "retention_token_range_priorities",
        "retention_token_range_durations_ms",
        "retention_decode_priority",
        "retention_decode_duration_ms",
        "lookahead_window_size",
        "lookahead_ngram_size",
        "lookahead_verification_set_size",
    }
)


def parse(tensors: Mapping[str, Array], eos_token_ids: tuple[int, ...]) -> EngineRequest:
    """Read the engine stage's inputs, each with a batch dimension of one.

    eos_token_ids: the engine's own. An `end_id` among them stands for all of them, because upstream's
        interface takes one; -1 means that only the length ends the answer.
    Raises InvalidRequest that names the tensor, its value and the values that are allowed.
    """
    prompt = _prompt(tensors)
    for name, asks in REFUSED.items():
        if name in tensors and asks(tensors[name]):
            raise InvalidRequest(
                f"{_named(name)} is {_shown(tensors[name])}, which this engine cannot do; leave it out.",
                param=name,
            )
    end_id = scalar(tensors, "end_id", None)
    other = end_id is not None and end_id != NO_END_ID and end_id not in eos_token_ids
    top_k, top_p, temperature = _sampling(tensors)
    return EngineRequest(
        prompt_token_ids=prompt,
        sampling=SamplingParams(
            max_tokens=_max_tokens(tensors),
            # As upstream, less than 1 has no effect.
            min_tokens=max(0, scalar(tensors, "min_tokens", 0)),
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=scalar(tensors, "repetition_penalty", 1.0),
            presence_penalty=scalar(tensors, "presence_penalty", 0.0),
            frequency_penalty=scalar(tensors, "frequency_penalty", 0.0),
            min_p=scalar(tensors, "min_p", 0.0),
            logit_bias=_logit_bias(tensors),
            bad_token_ids=_words(tensors, "bad_words_list"),
            seed=scalar(tensors, "seed", None),
            ignore_eos=end_id == NO_END_ID,
            eos_token_ids=(end_id,) if other else None,
            stop_token_ids=_words(tensors, "stop_words_list"),
            log_probs=scalar(tensors, "return_log_probs", False),
            top_log_probs=scalar(tensors, "num_top_log_probs", 0),
            prompt_log_probs=scalar(tensors, "num_prompt_log_probs", None),
            report_end=scalar(tensors, "return_end_token", False),
            grammar=_grammar(tensors),
        ),
        streaming=scalar(tensors, "streaming", False),
        echo=not scalar(tensors, "exclude_input_in_output", False),
        count_input=scalar(tensors, "return_num_input_tokens", False),
        count_output=scalar(tensors, "return_num_output_tokens", False),
        times=scalar(tensors, "return_perf_metrics", False),
    )


def wants_stop(tensors: Mapping[str, Array]) -> bool:
    """Whether this request ends another one, the one with its id."""
    return bool(scalar(tensors, "stop", False))


def _prompt(tensors: Mapping[str, Array]) -> tuple[int, ...]:
    if "input_ids" not in tensors:
        raise InvalidRequest("input_ids is missing: send the prompt's token ids, [1, n].", param="input_ids")
    ids = tensors["input_ids"]
    if ids.ndim != 2 or ids.shape[0] != 1:
        raise InvalidRequest(
            f"input_ids has the shape {list(ids.shape)}; send one prompt per request, [1, n] "
            "(requests run in one batch anyway).",
            param="input_ids",
        )
    length = scalar(tensors, "input_lengths", ids.shape[1])
    if not 0 < length <= ids.shape[1]:
        raise InvalidRequest(
            f"input_lengths is {length}, but input_ids holds {ids.shape[1]} tokens; at least one is needed.",
            param="input_lengths",
        )
    return tuple(ids[0, :length].tolist())


def _max_tokens(tensors: Mapping[str, Array]) -> int:
    tokens: int = scalar(tensors, "request_output_len", 0)
    if tokens < 0:
        raise InvalidRequest(
            f"{_named('request_output_len')} is {tokens}; it is 0 (read the prompt only) or more.",
            param="request_output_len",
        )
    return tokens


def _sampling(tensors: Mapping[str, Array]) -> tuple[int, float, float]:
    """top_k, top_p and temperature as `SamplingParams` means them.

    Upstream is greedy unless top_k or top_p says otherwise, whatever the temperature, and a top_p of 0 or
    below counts as none.
    """
    top_k: int = scalar(tensors, "runtime_top_k", 0)
    top_p: float = scalar(tensors, "runtime_top_p", 0.0)
    temperature: float = scalar(tensors, "temperature", 1.0)
    if top_k < 0:
        raise InvalidRequest(f"{_named('runtime_top_k')} is {top_k}; 0 keeps all tokens.", "runtime_top_k")
    if not top_p <= 1:
        raise InvalidRequest(f"{_named('runtime_top_p')} is {top_p}; it is 1 at most.", "runtime_top_p")
    if not (temperature >= 0 and np.isfinite(temperature)):
        raise InvalidRequest(f"temperature is {temperature}; it is 0 (greedy) or above.", "temperature")
    if top_k == 1 or (top_k == 0 and top_p <= 0):
        return 1, 1.0, 0.0
    return top_k, top_p if top_p > 0 else 1.0, temperature


def _logit_bias(tensors: Mapping[str, Array]) -> tuple[tuple[int, float], ...]:
    """Token ids and values, from `embedding_bias`: one number for each token of the vocabulary."""
    if "embedding_bias" not in tensors:
        return ()
    bias = tensors["embedding_bias"].ravel()
    biased = np.flatnonzero(bias)
    return tuple(zip(biased.tolist(), bias[biased].tolist(), strict=True))


def _grammar(tensors: Mapping[str, Array]) -> Grammar | None:
    """The grammar of the guide. As upstream, the type `json` needs no guide and means any JSON value."""
    kind, guide = (
        scalar(tensors, name, b"").decode(errors="replace")
        for name in ("guided_decoding_guide_type", "guided_decoding_guide")
    )
    if not kind and not guide:
        return None
    if kind not in _GUIDE_TYPES:
        raise InvalidRequest(
            f"guided_decoding_guide_type is {kind!r}; it is one of {', '.join(_GUIDE_TYPES)}.",
            param="guided_decoding_guide_type",
        )
    if kind == "json":
        return Grammar("json_schema", "{}")
    if not guide:
        raise InvalidRequest(
            f"guided_decoding_guide is missing, which guided_decoding_guide_type {kind} needs.",
            param="guided_decoding_guide",
        )
    return Grammar(_GUIDE_TYPES[kind], guide)


def _words(tensors: Mapping[str, Array], name: str) -> tuple[tuple[int, ...], ...]:
    return unpack_words(tensors[name], name) if name in tensors else ()


def scalar(tensors: Mapping[str, Array], name: str, default: Any) -> Any:
    """The one value of a tensor. Raises InvalidRequest when it holds none or several."""
    if name not in tensors:
        return default
    if tensors[name].size != 1:
        raise InvalidRequest(f"{_named(name)} holds {tensors[name].size} values; expected one.", param=name)
    return tensors[name].item()


def decoded(text: bytes, name: str) -> str:
    """The text of the input `name`. Raises InvalidRequest when it is not UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is not UTF-8 at byte {error.start}; send text.", name) from None


def _named(name: str) -> str:
    client = CLIENT_NAMES.get(name, name)
    return name if client == name else f"{name} ({client} of the ensemble)"


def _shown(value: Array) -> str:
    if value.size != 1:
        return "given"
    item = value.item()
    return repr(item.decode(errors="replace")) if isinstance(item, bytes) else str(item)
