"""Bias, penalties and bans, applied to the logits before sampling.

The order is that of transformers (src/transformers/generation/utils.py, `_get_logits_processor`): bias,
repetition penalty, bad words, least length. Presence and frequency penalties, which it lacks, follow the
repetition penalty as in vLLM (vllm/model_executor/layers/utils.py, `apply_penalties`).
"""

from collections.abc import Iterator, Sequence, Set

import numpy as np

from slipway.contract.generation import SamplingParams
from slipway.runtime.kv_cache import FloatArray

# The logit of a token that must not be chosen. Not minus infinity, so that a request which bans the whole
# vocabulary gets some token and no NaN.
BANNED = -1e30


class Adjustments:
    """Bias, penalties and bans of one request, with the tokens so far that they depend on."""

    def __init__(
        self, params: SamplingParams, prompt_token_ids: Sequence[int], eos_token_ids: Set[int]
    ) -> None:
        self._params = params
        self._eos = list(eos_token_ids)
        self._context = list(prompt_token_ids)
        self._prompt_length = len(prompt_token_ids)
        self._biased = np.array([token for token, _ in params.logit_bias], dtype=np.int64)
        self._bias = np.array([bias for _, bias in params.logit_bias], dtype=np.float32)
        # Each distinct token so far has a place in the two arrays: which token, how often in the answer.
        self._places = {token: place for place, token in enumerate(dict.fromkeys(prompt_token_ids))}
        self._tokens = np.empty(len(self._places) + params.max_tokens, dtype=np.int64)
        self._tokens[: len(self._places)] = list(self._places)
        self._counts = np.zeros(self._tokens.size, dtype=np.float32)

    @staticmethod
    def needed(params: SamplingParams) -> bool:
        """Whether any of these changes the logits."""
        return bool(params.min_tokens or params.logit_bias or params.bad_token_ids or _penalises(params))

    def append(self, token: int) -> None:
        """The answer goes on with `token`."""
        place = self._places.setdefault(token, len(self._places))
        self._tokens[place] = token
        self._counts[place] += 1
        self._context.append(token)

    def applied(self, logits: FloatArray) -> FloatArray:
        """The adjusted logits, float32 [vocab]; those given stay as they are."""
        adjusted = logits.copy()
        np.add.at(adjusted, self._biased, self._bias)
        if _penalises(self._params):
            self._penalise(adjusted)
        for token in self._banned():
            adjusted[token] = min(adjusted[token], BANNED)  # what a grammar forbids stays at minus infinity
        return adjusted

    def _penalise(self, logits: FloatArray) -> None:
        tokens, counts = self._tokens[: len(self._places)], self._counts[: len(self._places)]
        params = self._params
        repetition = np.float32(params.repetition_penalty)
        values = logits[tokens]
        # Keskar et al. 2019 (CTRL), with the case of negative logits that transformers added.
        values = np.where(values < 0, values * repetition, values / repetition)
        values -= np.float32(params.frequency_penalty) * counts
        values -= np.float32(params.presence_penalty) * (counts > 0)
        logits[tokens] = values

    def _banned(self) -> Iterator[int]:
        for *start, last in self._params.bad_token_ids:
            if self._context[len(self._context) - len(start) :] == start:
                yield last
        if len(self._context) - self._prompt_length < self._params.min_tokens:
            yield from self._eos


def _penalises(params: SamplingParams) -> bool:
    return (params.repetition_penalty, params.presence_penalty, params.frequency_penalty) != (1, 0, 0)
