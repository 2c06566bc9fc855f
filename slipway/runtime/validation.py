"""Validation of a request against an engine's limits."""

from collections.abc import Sequence

from slipway.contract.errors import ContextLengthExceeded, InvalidRequest
from slipway.contract.generation import SamplingParams
from slipway.contract.manifest import Manifest
from slipway.runtime.sampling.log_probs import MAX_TOP_LOG_PROBS

# Wider than any use (OpenAI's temperatures and penalties end at 2, its bias at 100), and narrow enough that
# no logit overflows and banned tokens stay banned.
_MAX_TEMPERATURE = 100.0
_MAX_PENALTY = 100.0
_REPETITION = (0.01, 100.0)
_MAX_BIAS = 100.0
# Characters: twice OpenAI's limit for all names and values of a schema.
_MAX_GRAMMAR = 1 << 18


def check_request(
    prompt_token_ids: Sequence[int], sampling: SamplingParams, manifest: Manifest, prompt_logits: bool
) -> None:
    """Raise InvalidRequest, or ContextLengthExceeded with both lengths, unless the engine can serve this.

    prompt_logits: whether the engine gives the logits after each token of a prompt.
    """
    _check_prompt(prompt_token_ids, sampling.max_tokens, manifest)
    _check_sampling(sampling)
    _check_adjustments(sampling, manifest)
    _check_log_probs(sampling, manifest, prompt_logits)
    _check_grammar(sampling)


def _check_prompt(prompt_token_ids: Sequence[int], max_tokens: int, manifest: Manifest) -> None:
    limits = manifest.limits
    length = len(prompt_token_ids)
    if length == 0:
        raise InvalidRequest("The prompt is empty: it needs at least one token.", param="prompt")
    if length > limits.max_input_len:
        raise ContextLengthExceeded(
            f"The prompt has {length} tokens, but engine {manifest.name} takes prompts of at most "
            f"{limits.max_input_len}; shorten it.",
            param="prompt",
        )
    if max_tokens < 0:
        raise InvalidRequest(f"max_tokens is {max_tokens}, but must be at least 0.", param="max_tokens")
    if length + max_tokens > limits.max_seq_len:
        raise ContextLengthExceeded(
            f"The prompt has {length} tokens and max_tokens is {max_tokens}, together {length + max_tokens}, "
            f"but engine {manifest.name} holds {limits.max_seq_len}; ask for at most "
            f"{limits.max_seq_len - length} tokens or shorten the prompt.",
            param="max_tokens",
        )
    for token in prompt_token_ids:
        if not 0 <= token < manifest.vocab_size:
            raise InvalidRequest(
                f"The prompt holds token id {token}, but the vocabulary of engine {manifest.name} ends at "
                f"{manifest.vocab_size - 1}.",
                param="prompt",
            )


def _check_sampling(sampling: SamplingParams) -> None:
    if not 0 <= sampling.temperature <= _MAX_TEMPERATURE:
        raise InvalidRequest(
            f"temperature is {sampling.temperature}, but must be from 0 (greedy) to {_MAX_TEMPERATURE:g}.",
            param="temperature",
        )
    if not 0 < sampling.top_p <= 1:
        raise InvalidRequest(
            f"top_p is {sampling.top_p}, but must be above 0 and at most 1 (1 keeps all tokens).",
            param="top_p",
        )
    if sampling.top_k < 0:
        raise InvalidRequest(
            f"top_k is {sampling.top_k}, but must be 0 (keeps all tokens) or positive.", param="top_k"
        )
    if not 0 <= sampling.min_p <= 1:
        raise InvalidRequest(
            f"min_p is {sampling.min_p}, but must be from 0 (keeps all tokens) to 1.", param="min_p"
        )
    if () in sampling.stop_token_ids:
        raise InvalidRequest("A stop sequence is empty: it needs at least one token.", param="stop")
    if not 0 <= sampling.min_tokens <= sampling.max_tokens:
        raise InvalidRequest(
            f"min_tokens is {sampling.min_tokens}, but must be from 0 to max_tokens, {sampling.max_tokens}.",
            param="min_tokens",
        )


def _check_adjustments(sampling: SamplingParams, manifest: Manifest) -> None:
    least, most = _REPETITION
    if not least <= sampling.repetition_penalty <= most:
        raise InvalidRequest(
            f"repetition_penalty is {sampling.repetition_penalty}, but must be from {least} to {most:g} "
            "(1 does nothing).",
            param="repetition_penalty",
        )
    penalties = {
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    for name, penalty in penalties.items():
        if not abs(penalty) <= _MAX_PENALTY:
            raise InvalidRequest(
                f"{name} is {penalty}, but must be from -{_MAX_PENALTY:g} to {_MAX_PENALTY:g} "
                "(0 does nothing).",
                param=name,
            )
    for token, bias in sampling.logit_bias:
        if not 0 <= token < manifest.vocab_size:
            raise _no_such_token("logit_bias", token, manifest)
        if not abs(bias) <= _MAX_BIAS:
            raise InvalidRequest(
                f"logit_bias of token id {token} is {bias}, but must be from -{_MAX_BIAS:g} to "
                f"{_MAX_BIAS:g}.",
                param="logit_bias",
            )
    if () in sampling.bad_token_ids:
        raise InvalidRequest("A bad sequence is empty: it needs at least one token.", param="bad_words")
    for token in (token for bad in sampling.bad_token_ids for token in bad):
        if not 0 <= token < manifest.vocab_size:
            raise _no_such_token("bad_words", token, manifest)
    for token in sampling.eos_token_ids or ():
        if not 0 <= token < manifest.vocab_size:
            raise _no_such_token("end_id", token, manifest)


def _check_log_probs(sampling: SamplingParams, manifest: Manifest, prompt_logits: bool) -> None:
    if not 0 <= sampling.top_log_probs <= MAX_TOP_LOG_PROBS:
        raise InvalidRequest(
            f"top_log_probs is {sampling.top_log_probs}, but must be from 0 to {MAX_TOP_LOG_PROBS}.",
            param="top_logprobs",
        )
    if sampling.prompt_log_probs is None:
        return
    if not prompt_logits:
        raise InvalidRequest(
            f"Engine {manifest.name} gives no log-probabilities of a prompt; engines for target onnx-cpu do, "
            "if this version of Slipway built them, so build it again or ask for the answer's only.",
            param="prompt_logprobs",
        )
    if not 0 <= sampling.prompt_log_probs <= MAX_TOP_LOG_PROBS:
        raise InvalidRequest(
            f"prompt_log_probs is {sampling.prompt_log_probs}, but must be from 0 to {MAX_TOP_LOG_PROBS}.",
            param="prompt_logprobs",
        )


def _check_grammar(sampling: SamplingParams) -> None:
    if sampling.grammar is None:
        return
    if len(sampling.grammar.text) > _MAX_GRAMMAR:
        raise InvalidRequest(
            f"The grammar has {len(sampling.grammar.text)} characters, but at most {_MAX_GRAMMAR} "
            "are allowed; shorten it.",
            param="grammar",
        )
    if sampling.ignore_eos:
        raise InvalidRequest(
            "ignore_eos is set together with a grammar, which says where the answer ends; leave one out.",
            param="ignore_eos",
        )


def _no_such_token(field: str, token: int, manifest: Manifest) -> InvalidRequest:
    return InvalidRequest(
        f"{field} names token id {token}, but the vocabulary of engine {manifest.name} ends at "
        f"{manifest.vocab_size - 1}.",
        param=field,
    )
