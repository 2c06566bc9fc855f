"""The text of tokens is what sentencepiece and transformers' slow tokenizers make of them, for every decoder.

The texts come from `golden/decoded_tokens.py`: `tokenizers` shares faults with all that use it.
"""

import json
from functools import cache
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from support.paths import ROOT
from tokenizers import AddedToken, decoders, models

from slipway.contract.errors import EngineRefused
from slipway.text.detokenizer import Detokenizer
from slipway.text.padding import Padding, Unpadder
from slipway.text.tokenizer import Tokenizer
from slipway.text.vocabulary import Vocabulary

GOLDEN = json.loads((ROOT / "tests/golden/decoded_tokens.json").read_text(encoding="utf-8"))
REPLACE = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
# By kind of decoder: the tokens that are decoded.
KINDS: dict[str, tuple[str, Any]] = {
    "Strip": ("sentencepiece", decoders.Sequence([*REPLACE, decoders.Strip(" ", 1, 0)])),
    "Metaspace always": (
        "sentencepiece",
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")]),
    ),
    "Metaspace first": (
        "sentencepiece",
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")]),
    ),
    "no Strip": ("sentencepiece without a prefix", decoders.Sequence(REPLACE)),
    "Strip of nothing": (
        "sentencepiece without a prefix",
        decoders.Sequence([*REPLACE, decoders.Strip(" ", 0, 0)]),
    ),
    "Metaspace never": (
        "sentencepiece without a prefix",
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never")]),
    ),
    "ByteLevel": ("gpt2 with added letters", decoders.ByteLevel()),
}


@cache
def tokenizer_of(kind: str) -> Tokenizer:
    name, decoder = KINDS[kind]
    golden = GOLDEN[name]
    ids = {piece: index for index, piece in enumerate(golden["pieces"])}
    if kind == "ByteLevel":
        encoder = tokenizers.Tokenizer(models.BPE(ids, []))
        encoder.add_special_tokens(["<end>"])
        encoder.add_tokens([AddedToken(letter, normalized=False) for letter in golden["added"]])
    else:
        encoder = tokenizers.Tokenizer(models.BPE(ids, [], unk_token="<unk>", byte_fallback=True))
        encoder.add_special_tokens(["<unk>", "<s>", "</s>"])
        symbols = [piece for piece in ("▁▁", "▁▁▁▁", "<call>") if piece in ids]
        encoder.add_tokens([AddedToken(symbol, normalized=False) for symbol in symbols])
    encoder.decoder = decoder
    return Tokenizer(encoder, Vocabulary.read(encoder), {})


def cases_of(kind: str) -> list[tuple[list[int], str]]:
    return [(ids, text) for ids, text in GOLDEN[KINDS[kind][0]]["cases"]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_of_all_tokens_is_the_references(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    assert [tokenizer.decode(ids) for ids, _ in cases_of(kind)] == [text for _, text in cases_of(kind)]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_text_and_what_comes_after_it_are_the_text_of_all_tokens(kind: str, data: st.DataObject) -> None:
    ids, text = data.draw(st.sampled_from(cases_of(kind)))
    tokenizer = tokenizer_of(kind)
    cut = data.draw(st.integers(0, len(ids)).filter(lambda at: _is_whole(tokenizer, ids[:at])))
    before, after = ids[:cut], ids[cut:]
    detokenizer, unpadder = Detokenizer(tokenizer), tokenizer.unpadder(before)
    pieces = []
    while after:
        length = data.draw(st.integers(1, len(after)))
        pieces.append(unpadder.push(detokenizer.push(after[:length])))
        after = after[length:]
    assert tokenizer.decode(before) + "".join(pieces) == text
    assert tokenizer.decode(before) + tokenizer.decode(ids[cut:], before) == text


def _is_whole(tokenizer: Tokenizer, ids: list[int]) -> bool:
    return "�" not in tokenizer.vocabulary.join(ids).decode(errors="replace")


@given(
    st.lists(st.text(" a", max_size=3), max_size=6), st.integers(0, 3), st.integers(0, 3), st.integers(0, 5)
)
def test_padding_leaves_both_ends_however_the_text_is_split(
    pieces: list[str], before: int, after: int, other: int
) -> None:
    padding, text = Padding(" ", before, after), "".join(pieces)
    unpadder = Unpadder(padding)
    shown = "".join(map(unpadder.push, pieces))
    start = text[min(before, len(text) - len(text.lstrip(" "))) :]
    assert shown == start[: len(start) - min(after, len(start) - len(start.rstrip(" ")))]
    going_on = Unpadder(padding)
    first = going_on.push(text[:other])
    assert first + going_on.push(text[other:]) == shown, "what was held back comes with what follows"


def test_a_blank_at_the_end_is_taken_only_from_the_end() -> None:
    ids = {token: index for index, token in enumerate(["The▁", "capital▁", "is▁", "Paris▁"])}
    encoder = tokenizers.Tokenizer(models.BPE(ids, []))
    encoder.decoder = decoders.Sequence([*REPLACE, decoders.Strip(" ", 0, 1)])
    tokenizer = Tokenizer(encoder, Vocabulary.read(encoder), {})
    assert tokenizer.decode([0, 1, 2, 3]) == "The capital is Paris"
    assert tokenizer.decode([0, 1, 2]) == "The capital is"
    assert tokenizer.decode([3], before=[0, 1, 2]) == " Paris"


@pytest.mark.parametrize(
    ("decoder", "named"),
    [
        (decoders.WordPiece(), "WordPiece"),
        (decoders.Sequence([decoders.ByteFallback(), decoders.Strip(" ", 1, 0)]), "Strip without Fuse"),
        (decoders.Replace(tokenizers.Regex("▁+"), " "), "Replace with the pattern"),
    ],
)
def test_a_decoder_that_would_be_read_wrong_is_refused_by_name(decoder: Any, named: str) -> None:
    encoder = tokenizers.Tokenizer(models.BPE({"a": 0}, []))
    encoder.decoder = decoder
    with pytest.raises(EngineRefused, match=named):
        Vocabulary.read(encoder)
