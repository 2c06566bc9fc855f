"""How far an engine's greedy answers are those of its checkpoint, in tokens; computed by `gpu_check`."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from slipway.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Agreement:
    """answers: how many. same: equal from end to end. first: with the same first token.

    leading: share of the checkpoint's tokens before the first that differs. After it two greedy answers go
    ways of their own, so tokens behind it are not compared.
    """

    answers: int
    same: int
    first: int
    leading: float

    @classmethod
    def of(cls, engine: Sequence[str], checkpoint: Sequence[str], tokenizer: Tokenizer) -> "Agreement":
        """Both are texts, encoded anew, so that both were decoded and encoded the same way."""
        same = first = leading = total = 0
        for ours, theirs in zip(engine, checkpoint, strict=True):
            # A BOS in front of both would be a first token that every engine has right.
            mine, wanted = (tokenizer.encode(text, add_special_tokens=False) for text in (ours, theirs))
            pairs = zip(mine, wanted, strict=False)
            equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            same += mine == wanted
            first += mine[:1] == wanted[:1]
            leading += equal
            total += len(wanted)
        return cls(len(checkpoint), same, first, leading / max(1, total))
