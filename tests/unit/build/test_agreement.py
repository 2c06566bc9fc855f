from pathlib import Path

import pytest
from support import tiny_checkpoints as tiny
from tokenizers.processors import TemplateProcessing

from build.trtllm.agreement import Agreement
from slipway.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = tmp_path_factory.mktemp("tokenizer")
    tiny.write_tokenizer(directory)  # a token for each byte
    return Tokenizer.load(directory)


def test_tokens_count_up_to_where_the_answers_part(tokenizer: Tokenizer) -> None:
    agreed = Agreement.of(["abcd", "xbcd", "ab"], ["abXd", "abcd", "abcd"], tokenizer)
    assert agreed == Agreement(answers=3, same=0, first=2, leading=4 / 12)


def test_equal_answers_agree_wholly(tokenizer: Tokenizer) -> None:
    assert Agreement.of(["abc", "de"], ["abc", "de"], tokenizer) == Agreement(2, 2, 2, 1.0)


def test_an_answer_that_goes_on_is_not_the_same(tokenizer: Tokenizer) -> None:
    assert Agreement.of(["abc"], ["ab"], tokenizer) == Agreement(1, 0, 1, 1.0)


def test_a_bos_that_the_tokenizer_puts_in_front_of_both_is_no_agreement(tmp_path: Path) -> None:
    tiny.write_tokenizer(tmp_path)
    tokenizer = Tokenizer.load(tmp_path)
    tokenizer.encoder.post_processor = TemplateProcessing("<s> $A", None, [("<s>", 256)])
    assert tokenizer.encode("a")[0] == 256
    assert Agreement.of(["abc"], ["xyz"], tokenizer) == Agreement(1, 0, 0, 0.0)


def test_no_answer_agrees_with_no_answer(tokenizer: Tokenizer) -> None:
    assert Agreement.of([""], [""], tokenizer) == Agreement(1, 1, 1, 0.0)
