"""What matches a grammar is the text that the client gets: llguidance reads tokens like the detokenizer."""

import re
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from llguidance import LLTokenizer
from support import sentencepiece_tokenizer
from tokenizers import decoders, models, pre_tokenizers

from slipway.contract.generation import Grammar
from slipway.runtime.grammar.matcher import Masks, Matcher, compiled, load_tokenizer
from slipway.text.detokenizer import Detokenizer
from slipway.text.tokenizer import Tokenizer

# Columns of logits beyond the tokens, as in padded vocabularies.
PADDING = 16
LETTERS = ["ú", "ü", "café", "한국"]


@pytest.fixture(scope="module", params=["byte-level", "sentencepiece"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    if request.param == "sentencepiece":
        sentencepiece_tokenizer.write(folder)
        return folder
    alphabet = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {"ú", "ü"})
    made = tokenizers.Tokenizer(models.BPE({each: index for index, each in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["</s>", "<|x|>"])
    made.add_tokens(LETTERS)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def words(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


def allowed(matcher: Matcher, columns: int) -> list[int]:
    masked = matcher.masked(np.zeros(columns, np.float32), set())
    return np.flatnonzero(masked == 0).tolist()


@pytest.mark.parametrize(
    "expression", ["[a-zúü ]{1,9}", "café|cafeteria", " Paris,? ?", '[{]"a": "(한|국)+"[}]', ".{3}"]
)
def test_every_way_through_a_grammar_is_a_text_that_matches(
    folder: Path, words: Tokenizer, expression: str
) -> None:
    columns, end = words.vocab_size + PADDING, words.encoder.token_to_id("</s>")
    grammar, masks = Grammar("regex", expression), Masks(columns, [end])
    start = Matcher(grammar, compiled(grammar, load_tokenizer(folder, columns, [end])), masks)
    random = np.random.default_rng(0)
    for _ in range(8):
        matcher, detokenizer, text = start.copy(), Detokenizer(words), ""
        while not matcher.ended:
            choices = allowed(matcher, columns)
            if not choices:
                break
            token = int(random.choice(choices))
            assert words.vocabulary.join([token]), "only tokens with text"
            matcher.advance(token)
            text += detokenizer.push([token])
        assert re.fullmatch(expression, text)


def test_a_part_of_an_answer_is_tokenized_to_its_own_bytes(folder: Path, words: Tokenizer) -> None:
    read = load_tokenizer(folder, words.vocab_size, [words.encoder.token_to_id("</s>")])
    for text in ("Paris", " Paris", "  a", "", "한국 café ú", '{"a": 1}', "\x02a", "<|x|>", "</s>"):
        assert words.vocabulary.join(read.tokenize_str(text)) == text.encode()


def test_a_word_in_the_middle_of_an_answer_is_one_token_where_the_model_has_one(
    folder: Path, words: Tokenizer
) -> None:
    read: LLTokenizer = load_tokenizer(folder, words.vocab_size, [words.encoder.token_to_id("</s>")])
    word = " Paris" if words.vocabulary.padding.before else "café"
    assert [words.vocabulary.join([each]) for each in read.tokenize_str(word)] == [word.encode()]
