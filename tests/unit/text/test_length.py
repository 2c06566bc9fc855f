"""A text that is too long is found out before all of it is tokenized."""

from hypothesis import given
from hypothesis import strategies as st

from slipway.text.length import has_more
from slipway.text.tokenizer import Tokenizer


@given(st.text(min_size=1, max_size=20), st.integers(1, 3000), st.integers(1, 300))
def test_a_text_that_fits_is_never_too_long(tokenizer: Tokenizer, part: str, times: int, more: int) -> None:
    text = part * times
    assert not has_more(text, len(tokenizer.encode(text)) + more - 1, tokenizer.encode)


def test_counting_stops_at_the_limit(tokenizer: Tokenizer) -> None:
    read = []

    def encode(text: str) -> list[int]:
        read.append(len(text))
        return tokenizer.encode(text)

    assert has_more("<|im_end|>" * 400_000, 8000, encode)
    assert sum(read) < 200_000
