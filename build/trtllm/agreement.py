"""How well the greedy answers of an engine agree with those of its checkpoint, in tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Self

from slipway.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Agreement:
    """answers: number of answers. same: equal to the end. first: with the same first token.

    leading: share of the checkpoint's tokens before the first difference. After it, two greedy answers
    diverge, so later tokens are not compared.
    """

    answers: int
    same: int
    first: int
    leading: float

    @classmethod
    def of(cls, engine: Sequence[str], checkpoint: Sequence[str], tokenizer: Tokenizer) -> Self:
        """Compare the answers as texts, which are encoded again for this."""
        same = first = leading = total = 0
        for answer, reference in zip(engine, checkpoint, strict=True):
            # Without BOS, which every engine would have right.
            ours, theirs = (tokenizer.encode(text, add_special_tokens=False) for text in (answer, reference))
            pairs = zip(ours, theirs, strict=False)
            same += ours == theirs
            first += ours[:1] == theirs[:1]
            leading += sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            total += len(theirs)
        return cls(len(checkpoint), same, first, leading / max(1, total))
