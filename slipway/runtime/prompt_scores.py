"""How likely the tokens of one prompt are, collected while the prompt is read."""

from collections.abc import Sequence

from slipway.contract.generation import PromptLogProbs, TopLogProbs
from slipway.runtime.kv_cache import FloatArray
from slipway.runtime.sampling.log_probs import log_probability, rank, top_log_probs
from slipway.runtime.sampling.sampler import check_peak


class PromptScores:
    """Keeps a few numbers for each token, never the logits."""

    def __init__(self, prompt_token_ids: Sequence[int], count: int) -> None:
        """count: the number of likeliest tokens to keep for each token of the prompt."""
        self._prompt = prompt_token_ids
        self._count = count
        self._log_probs: list[float] = []
        self._ranks: list[int] = []
        self._top: list[TopLogProbs] = []

    def add(self, logits: FloatArray) -> None:
        """Take the logits after each of the next tokens of the prompt, float32 [tokens, vocab].

        Those after the last token belong to the answer. Raises EngineFailed for logits that are not numbers.
        """
        start = len(self._log_probs) + 1
        for row, token in zip(logits, self._prompt[start : start + len(logits)], strict=False):
            check_peak(row.max())
            self._log_probs.append(log_probability(row, token))
            self._ranks.append(rank(row, token))
            if self._count:
                self._top.append(top_log_probs(row, self._count))

    def result(self) -> PromptLogProbs:
        """All of the prompt so far."""
        return PromptLogProbs(tuple(self._log_probs), tuple(self._ranks), tuple(self._top))
