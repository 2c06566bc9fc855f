"""The text that every engine scores, and the perplexity that an engine may lose.

Perplexity is the exponential of the mean negative log-probability that an engine gives to the tokens of a
text. The loss of an engine is its perplexity over that of the checkpoint in fp32, minus 1.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path

from tokenizers import Tokenizer

from bench.measured_engine import ROOT, EngineSpec
from slipway.text.file import read_text
from slipway.text.perplexity import windows

# Enough to tell a loss of 0.5 % from one of 1 %, in a tenth of the time of the rounds.
DOCS_WINDOWS = 8
MAX_LOSS_INT4 = 0.06
MAX_LOSS = 0.01


@dataclass(frozen=True, slots=True)
class QualityText:
    """A text as windows of token ids, each scored by itself, and the checkpoint as an engine that scores."""

    windows: list[list[int]]
    checkpoint: EngineSpec

    @property
    def tokens(self) -> int:
        """The number of scored tokens: all but the first of each window."""
        return sum(len(window) - 1 for window in self.windows)


def windows_of(text: Path | None, tokenizer_file: Path) -> list[list[int]]:
    """The token ids of a file, cut into windows; without a file, the start of this repository's docs.

    Raises InvalidRequest for a file that is not UTF-8 text or has fewer than two tokens.
    """
    if text:
        content = read_text(text)
    else:
        pages = [page.read_text(encoding="utf-8") for page in sorted(ROOT.glob("docs/**/*.md"))]
        # llama.cpp's server gives no log-probability for a token that is a part of a character.
        content = "\n".join(pages).encode("ascii", "ignore").decode("ascii")
    ids = Tokenizer.from_file(str(tokenizer_file)).encode(content, add_special_tokens=False).ids
    pieces = [list(window) for window in windows(ids)]
    return pieces if text else pieces[:DOCS_WINDOWS]


def max_loss(engine: Path) -> float:
    """The loss allowed to one of our engines, by its quantization."""
    quantization = json.loads((engine / "engine.json").read_text(encoding="utf-8"))["quantization"]
    return MAX_LOSS_INT4 if quantization.startswith("int4") else MAX_LOSS


def perplexity(log_probs: Sequence[Sequence[float]]) -> float:
    """The perplexity of a text, from the log-probabilities of its windows."""
    values = [value for window in log_probs for value in window]
    return exp(-sum(values) / len(values))
