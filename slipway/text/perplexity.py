"""Scores of a text: the log-probabilities that a model gives to its tokens.

Engines and checkpoints read a text in the same windows, so their scores can be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from slipway.contract.errors import InvalidRequest
from slipway.contract.whole_files import replacing

WINDOW = 512


def windows(token_ids: Sequence[int]) -> list[Sequence[int]]:
    """Pieces of WINDOW tokens (the last may be shorter), each read without the text before it.

    A window's first token is given and all others are scored, so a last piece of one token is left out.
    Raises InvalidRequest for a text of fewer than two tokens.
    """
    pieces = [token_ids[start : start + WINDOW] for start in range(0, len(token_ids), WINDOW)]
    found = [piece for piece in pieces if len(piece) > 1]
    if not found:
        raise InvalidRequest(
            "The text has fewer than two tokens, so there is nothing to score; give a longer one."
        )
    return found


@dataclass(frozen=True, slots=True)
class Score:
    """A model's predictions for each scored token, in the order of the text.

    log_probs: float64 [tokens], the natural logarithm of the token's probability.
    likeliest: int64 [tokens], the most likely token in its place.
    """

    log_probs: npt.NDArray[np.float64]
    likeliest: npt.NDArray[np.int64]

    @classmethod
    def from_logits(cls, logits: npt.NDArray[np.float32], token_ids: npt.NDArray[np.int64]) -> Self:
        """The score of token_ids, int64 [tokens], from logits, float32 [tokens, vocab], for their places."""
        shifted = logits - logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(shifted, token_ids[:, None], axis=-1)[:, 0]
        return cls(chosen - np.log(np.exp(shifted).sum(axis=-1, dtype=np.float64)), logits.argmax(axis=-1))

    @classmethod
    def concatenate(cls, scores: Sequence["Score"]) -> Self:
        """The score of a text from the scores of its parts, in order."""
        return cls(
            np.concatenate([score.log_probs for score in scores]),
            np.concatenate([score.likeliest for score in scores]),
        )

    @property
    def perplexity(self) -> float:
        """The exponential of the mean negative log-probability of a token."""
        return float(np.exp(-self.log_probs.mean()))

    def save(self, path: Path) -> None:
        """Write a NumPy archive. Raises NotWritten when the disk is full."""
        with replacing(path) as stream:
            np.savez(stream, log_probs=self.log_probs, likeliest=self.likeliest)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` wrote. Raises InvalidRequest for any other file."""
        try:
            with np.load(path) as archive:
                return cls(archive["log_probs"], archive["likeliest"])
        except (OSError, ValueError, KeyError) as error:
            raise InvalidRequest(
                f"{path} is not a score ({error}); write one with `python -m build perplexity … --output`."
            ) from None

    def against(self, reference: Self) -> str:
        """A comparison with another model's score of the same text, as a sentence.

        Raises InvalidRequest when the texts have different lengths.
        """
        if len(self.log_probs) != len(reference.log_probs):
            raise InvalidRequest(
                f"The reference scores {len(reference.log_probs)} tokens, this one {len(self.log_probs)}; "
                "measure both on the same text."
            )
        agreement = (self.likeliest == reference.likeliest).mean()
        return (
            f"{self.perplexity / reference.perplexity:.4f} times the reference's {reference.perplexity:.4f}, "
            f"the same likeliest token in {agreement:.1%}"
        )

    def __str__(self) -> str:
        return f"perplexity {self.perplexity:.4f} over {len(self.log_probs)} tokens"
