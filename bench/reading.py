"""The text that every contestant foretells, and how much worse it may be at it than the checkpoint.

Called by `bench.side_by_side`, `contest` and `lineup`. Quality is perplexity: the exponential of the mean
negative log-probability that an engine gives to the tokens of a text. A contestant's loss is what it has more
of than the checkpoint computed in fp32, as a share.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path

from tokenizers import Tokenizer

from bench.contestant import ROOT, Entry

# As in `slipway perplexity`.
WINDOW = 512
# Enough to tell a loss of 0.5 % from one of 1 %, in a tenth of the time of the rounds.
DOCS_WINDOWS = 8
# What the quantizations may lose; whoever brings a quantization of its own may lose as much as int4.
MAY_LOSE_INT4 = 0.06
MAY_LOSE = 0.01


@dataclass(frozen=True, slots=True)
class Reading:
    """Windows of token ids, each read without what was before it, and the checkpoint as a contestant."""

    windows: list[list[int]]
    checkpoint: Entry

    @property
    def tokens(self) -> int:
        """How many tokens are foretold: all but the first of each window."""
        return sum(len(window) - 1 for window in self.windows)


def windows_of(text: Path | None, tokenizer_file: Path) -> list[list[int]]:
    """The token ids of a file, cut into windows; of the start of this repository's docs without one.

    Raises ValueError, in one sentence, for a file that is no text or has fewer than two tokens.
    """
    if text:
        try:
            written = text.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{text} is not UTF-8 text ({error}).") from None
    else:
        pages = [page.read_text(encoding="utf-8") for page in sorted(ROOT.glob("docs/*.md"))]
        # llama.cpp's server says nothing of a token that is a part of a character.
        written = "\n".join(pages).encode("ascii", "ignore").decode("ascii")
    ids = Tokenizer.from_file(str(tokenizer_file)).encode(written, add_special_tokens=False).ids
    pieces = [ids[start : start + WINDOW] for start in range(0, len(ids), WINDOW)]
    pieces = [piece for piece in pieces if len(piece) > 1]
    if not pieces:
        raise ValueError(f"{text} has fewer than two tokens, so there is nothing to foretell.")
    return pieces if text else pieces[:DOCS_WINDOWS]


def may_lose(engine: Path) -> float:
    """The loss allowed to one of our engines, by its quantization."""
    quantization = json.loads((engine / "engine.json").read_text(encoding="utf-8"))["quantization"]
    return MAY_LOSE_INT4 if quantization.startswith("int4") else MAY_LOSE


def perplexity(log_probs: Sequence[Sequence[float]]) -> float:
    """The perplexity of a text, of the log-probabilities of its windows."""
    told = [value for window in log_probs for value in window]
    return exp(-sum(told) / len(told))
