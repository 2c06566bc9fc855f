"""Whether a text is too long, without the memory and the time that all of its tokens would take."""

from collections.abc import Callable, Sequence

# A text of so few characters for each token of the limit is tokenized as a whole.
_CHARACTERS = 8
_PIECE = 16_384
# Tokens of a piece that may be there only because a cut went through a word.
_CUT = 64


def has_more(text: str, limit: int, encode: Callable[[str], Sequence[int]]) -> bool:
    """Whether a long text certainly has more than `limit` tokens. A short one is for the caller to encode.

    It counts piece by piece up to the limit.
    """
    if len(text) <= _CHARACTERS * limit:
        return False
    counted = 0
    for at in range(0, len(text), _PIECE):
        counted += max(0, len(encode(text[at : at + _PIECE])) - _CUT)
        if counted > limit:
            return True
    return False
