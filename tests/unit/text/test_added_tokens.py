"""Tokens that only tokenizer_config.json has get the ids that transformers gives them."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import tiny_checkpoints as tiny
from transformers import AutoTokenizer

from slipway.text.added_tokens import with_added_tokens
from slipway.text.tokenizer import Tokenizer


def entry(content: str, **flags: bool) -> dict[str, Any]:
    every = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"content": content, "special": True, **every, **flags}


CONFIGS: dict[str, dict[str, Any]] = {
    "chatml": {
        "added_tokens_decoder": {"258": entry("<|im_start|>"), "259": entry("<|im_end|>")},
        "eos_token": "<|im_end|>",
    },
    "ids with gaps": {
        "added_tokens_decoder": {"270": entry("<|im_end|>"), "261": entry("<|im_start|>", special=False)}
    },
    "ids as text": {"added_tokens_decoder": {"1000": entry("<|im_end|>"), "261": entry("<|im_start|>")}},
    "blanks": {"added_tokens_decoder": {"258": entry("<|im_end|>", lstrip=True, rstrip=True)}},
    "a role alone": {"eos_token": "<|im_end|>"},
    "a role in the model": {"eos_token": "A"},
    "a role that is not special": {
        "added_tokens_decoder": {"258": entry("<|im_end|>", special=False)},
        "eos_token": "<|im_end|>",
    },
    "roles and others": {"pad_token": "[PAD]", "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]},
    "others by name": {"extra_special_tokens": {"image_token": "<|im_start|>"}},
    "those that are there": {
        "added_tokens_decoder": {"257": entry("</s>", special=False), "256": entry("<s>")}
    },
}
TEXT = "A <|im_start|>x<|im_end|> <s>[PAD] </s>"


@pytest.mark.parametrize("kind", CONFIGS)
def test_ids_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    tiny.write_config(tmp_path)
    tiny.write_tokenizer(tmp_path, tokenizer_class="PreTrainedTokenizerFast", **CONFIGS[kind])
    theirs, ours = AutoTokenizer.from_pretrained(tmp_path), Tokenizer.load(tmp_path)
    assert ours.encode(TEXT) == theirs(TEXT)["input_ids"]
    flags = {index: repr(token) for index, token in theirs.added_tokens_decoder.items()}
    assert {i: repr(t) for i, t in ours.encoder.get_added_tokens_decoder().items()} == flags


def test_a_whole_tokenizer_stays_as_it_is() -> None:
    definition = json.loads(tiny.tokenizer().to_str())
    assert with_added_tokens(definition, {"bos_token": "<s>", "eos_token": {"content": "</s>"}}) is definition
    assert with_added_tokens(definition, {"pad_token": "[PAD]"}) is definition, "no text needs it"


@pytest.mark.parametrize("given", [[], "x", {"258": None, "x": {}}, {"258": {"content": 3}}])
def test_what_is_no_token_is_passed_over(given: object) -> None:
    definition = json.loads(tiny.tokenizer().to_str())
    assert with_added_tokens(definition, {"added_tokens_decoder": given}) is definition
