"""What makes a request impossible for an engine; checked by `engine` before it queues anything."""

import math
from collections.abc import Sequence

from engines.errors import ContextLengthExceeded, InvalidRequest
from engines.generation import SamplingParams
from engines.manifest import Manifest


def check_request(prompt_token_ids: Sequence[int], sampling: SamplingParams, manifest: Manifest) -> None:
    """Raise InvalidRequest, or ContextLengthExceeded with both lengths, unless the engine can serve this."""
    _check_prompt(prompt_token_ids, sampling.max_tokens, manifest)
    _check_sampling(sampling)


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
    if max_tokens < 1:
        raise InvalidRequest(f"max_tokens is {max_tokens}, but must be at least 1.", param="max_tokens")
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
    if not (math.isfinite(sampling.temperature) and sampling.temperature >= 0):
        raise InvalidRequest(
            f"temperature is {sampling.temperature}, but must be 0 (greedy) or a positive number.",
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
    if () in sampling.stop_token_ids:
        raise InvalidRequest("A stop sequence is empty: it needs at least one token.", param="stop")
