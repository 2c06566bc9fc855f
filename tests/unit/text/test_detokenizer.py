"""Text never breaks in a stream: whole characters only, and the pieces add up to the decode of all tokens."""

import codecs
from functools import cache
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from slipway.contract.errors import EngineRefused
from slipway.text.detokenizer import Detokenizer
from slipway.text.tokenizer import Tokenizer
from slipway.text.vocabulary import Vocabulary

KOREAN = "안녕하세요, 저는 한국어로 이야기하는 모델입니다. 오늘 날씨가 어떻습니까? 👩‍👩‍👧 🇰🇷"
REPLACEMENT = "�"


@cache
def byte_level() -> Tokenizer:
    """Every byte is a token (GPT-2's alphabet), with a few merges, an added word and two special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "t"), ("ì", "ķ"), ("ê", "°")]
    ids = {token: index for index, token in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    encoder = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges))
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    encoder.add_tokens(["한 국", "<think>"])
    encoder.add_special_tokens(["<s>", "</s>"])
    return _tokenizer(encoder)


@cache
def sentencepiece() -> Tokenizer:
    """Llama 2's arrangement: words with a leading ▁, and a token for every byte."""
    words = ["<unk>", "▁", "▁the", "▁모델", "a", "입", "니다", *(f"<0x{byte:02X}>" for byte in range(256))]
    ids = {word: index for index, word in enumerate(words)}
    encoder = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=[], unk_token="<unk>", byte_fallback=True))
    encoder.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    encoder.add_special_tokens(["<s>", "</s>"])
    return _tokenizer(encoder)


def _tokenizer(encoder: tokenizers.Tokenizer) -> Tokenizer:
    return Tokenizer(encoder, Vocabulary.read(encoder), {"bos_token": "<s>"})


def _streamed(tokenizer: Tokenizer, pieces: list[list[int]]) -> list[str]:
    detokenizer, unpadder = Detokenizer(tokenizer), tokenizer.unpadder()
    return [unpadder.push(detokenizer.push(piece)) for piece in pieces]


def token_pieces(tokenizer: Tokenizer) -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=4), max_size=40)


def _without_cut_end(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The reference decode, less the tokens at the end whose bytes are a character's beginning."""
    data = tokenizer.vocabulary.join(ids)
    for cut in (1, 2, 3):
        end = data[-cut:]
        if len(end) == cut and end[0] >= 0xC0 and _is_incomplete(end):
            data = data[:-cut]
            break
    while len(tokenizer.vocabulary.join(ids)) > len(data):
        ids = ids[:-1]
    return str(tokenizer.encoder.decode(ids, skip_special_tokens=True))


def _is_incomplete(end: bytes) -> bool:
    """Whether a decoder waits for more; Python's also does after half the bytes of a surrogate (ED A0)."""
    return not codecs.getincrementaldecoder("utf-8")("replace").decode(end)


@given(token_pieces(byte_level()))
def test_a_byte_level_stream_equals_the_decode_of_all_tokens(pieces: list[list[int]]) -> None:
    ids = [index for piece in pieces for index in piece]
    assert "".join(_streamed(byte_level(), pieces)) == byte_level().decode(ids)
    assert byte_level().decode(ids) == _without_cut_end(byte_level(), ids)


@given(token_pieces(sentencepiece()))
def test_a_sentencepiece_stream_equals_the_decode_of_all_tokens(pieces: list[list[int]]) -> None:
    ids = [index for piece in pieces for index in piece]
    text = "".join(_streamed(sentencepiece(), pieces))
    assert text == sentencepiece().decode(ids)
    reference = _without_cut_end(sentencepiece(), ids)
    # A run of byte tokens with one bad byte loses all its characters in the reference, here only that byte.
    assert (REPLACEMENT in text) == (REPLACEMENT in reference)
    assert text == reference or REPLACEMENT in reference


@pytest.mark.parametrize("tokenizer", [byte_level(), sentencepiece()], ids=["byte-level", "sentencepiece"])
@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.just(KOREAN))
def test_whole_text_never_shows_a_replacement_character(tokenizer: Tokenizer, text: str) -> None:
    ids = [tokenizer.encoder.token_to_id(token) for token in _byte_tokens(tokenizer, text)]
    pieces = _streamed(tokenizer, [[index] for index in ids])
    expected = text.removeprefix(" ") if tokenizer is sentencepiece() else text
    assert "".join(pieces) == expected
    assert all(REPLACEMENT not in piece for piece in pieces) or REPLACEMENT in text


def _byte_tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    """One token per byte: the worst case of a multi-byte character in a stream."""
    by_bytes = {data: index for index, data in enumerate(tokenizer.vocabulary.token_bytes) if len(data) == 1}
    return [str(tokenizer.encoder.id_to_token(by_bytes[bytes([byte])])) for byte in text.encode()]


def test_a_character_that_the_end_cuts_is_left_out() -> None:
    first_bytes = [byte_level().encoder.token_to_id(token) for token in _byte_tokens(byte_level(), "안")[:2]]
    assert _streamed(byte_level(), [[index] for index in first_bytes]) == ["", ""]
    assert byte_level().decode(first_bytes) == ""


def test_bytes_that_can_never_be_a_character_are_shown_as_replacement() -> None:
    broken = byte_level().encoder.token_to_id(_byte_tokens(byte_level(), "안")[0])
    letter = byte_level().encoder.token_to_id("a")
    assert _streamed(byte_level(), [[broken], [letter]]) == ["", f"{REPLACEMENT}a"]


def test_special_tokens_and_padding_rows_have_no_text() -> None:
    special = byte_level().encoder.token_to_id("</s>")
    assert byte_level().decode([special, byte_level().vocab_size + 5]) == ""


@pytest.mark.parametrize("marker", ["[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "</tool_call>", "<think>"])
def test_a_special_token_that_marks_calls_or_reasoning_has_text(marker: str) -> None:
    for tokenizer in (byte_level(), sentencepiece()):
        marked = tokenizers.Tokenizer.from_str(tokenizer.encoder.to_str())
        marked.add_special_tokens([marker])
        ids = [marked.token_to_id("<s>"), marked.token_to_id(marker)]
        assert _tokenizer(marked).decode(ids) == marker


def test_a_text_that_begins_with_bos_gets_no_second_one() -> None:
    tokenizer = byte_level()
    bos = tokenizer.encoder.token_to_id("<s>")
    tokenizer.encoder.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    assert tokenizer.encode("the")[0] == bos
    assert tokenizer.encode("<s>the") == tokenizer.encode("the")


def test_a_missing_tokenizer_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match=r"tokenizer\.json is missing"):
        Tokenizer.load(tmp_path)
