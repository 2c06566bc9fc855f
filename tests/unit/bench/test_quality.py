import json
from math import log
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from bench.quality import DOCS_WINDOWS, max_loss, perplexity, windows_of
from slipway.contract.errors import InvalidRequest
from slipway.text.perplexity import WINDOW


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    words = Tokenizer(WordLevel({"no": 0, "yes": 1}, unk_token="no"))
    words.pre_tokenizer = Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.mark.parametrize(
    ("tokens", "lengths"),
    [(2, [2]), (WINDOW, [WINDOW]), (WINDOW + 1, [WINDOW]), (2 * WINDOW + 5, [WINDOW, WINDOW, 5])],
)
def test_a_text_is_cut_into_windows_and_a_single_token_at_its_end_is_left_out(
    tokens: int, lengths: list[int], tokenizer: Path, tmp_path: Path
):
    (tmp_path / "text").write_text("yes " * tokens)
    assert [len(window) for window in windows_of(tmp_path / "text", tokenizer)] == lengths


def test_without_a_text_the_start_of_the_docs_is_scored(tokenizer: Path):
    assert [len(window) for window in windows_of(None, tokenizer)] == [WINDOW] * DOCS_WINDOWS


@pytest.mark.parametrize("content", [b"yes", b"", b"\xff\xfe"], ids=["one token", "empty", "not UTF-8"])
def test_a_file_that_is_no_text_is_refused(content: bytes, tokenizer: Path, tmp_path: Path):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(
        InvalidRequest, match=r"text (has fewer than two tokens|cannot be read as UTF-8 text)"
    ):
        windows_of(tmp_path / "text", tokenizer)


@pytest.mark.parametrize(
    ("quantization", "share"), [("int4", 0.06), ("int4-awq", 0.06), ("int8", 0.01), ("none", 0.01)]
)
def test_what_an_engine_may_lose_depends_on_its_quantization(quantization: str, share: float, tmp_path: Path):
    (tmp_path / "engine.json").write_text(json.dumps({"quantization": quantization}))
    assert max_loss(tmp_path) == share


def test_perplexity_is_the_number_of_equally_likely_tokens():
    assert perplexity([[log(0.25)] * 3, [log(0.25)]]) == pytest.approx(4)
