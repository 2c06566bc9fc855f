"""Write golden/decoded_tokens.json: token ids, and their text by slow tokenizers.

From the checkout: `PYTHON tests/golden/decoded_tokens.py`. PYTHON has an environment of its own with
sentencepiece 0.2.3 and transformers 4.57.3; later versions have no slow GPT-2 tokenizer.
"""

import io
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sentencepiece
from transformers import AddedToken, GPT2Tokenizer, LlamaTokenizer
from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

TEXTS = (
    "The capital of France is Paris.",
    "def f(x):\n    return [1, 2]\n\n\n        # done",
    "서울은 대한민국의 수도입니다. 오늘 날씨가 어떻습니까?",
    "naïve café, über, čau: ¿qué? 😀👩‍💻",
    "  two blanks before, two after  ",
)
# As deepseek-coder has them: bytes that UTF-8 never has are no tokens of the model, but added letters.
NEVER = {*range(0xC0, 0xC2), *range(0xF5, 0x100)}
LETTERS = ["ú", "ü", "ö", "õ", "café", "đem", "čau", "naïve", "한국", "<call>"]
DRAWN = 60


def trained(prefix: bool) -> sentencepiece.SentencePieceProcessor:
    """A model like Llama 2's, or like Gemma's if there is no prefix."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        split_digits=True,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=["▁▁", "▁▁▁▁", "<call>"],
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def drawn(words: list[int], quoted: list[list[int]]) -> Iterator[list[int]]:
    """Token sequences: random words, and pieces of what was encoded."""
    dice = random.Random(0)
    for _ in range(DRAWN):
        ids: list[int] = []
        for _ in range(dice.randint(1, 6)):
            ids += dice.choice(quoted) if dice.random() < 0.3 else [dice.choice(words)]
        yield ids


def of_sentencepiece(prefix: bool) -> dict[str, Any]:
    model = trained(prefix)
    pieces = [model.id_to_piece(index) for index in range(model.vocab_size())]
    blanks = [index for index, piece in enumerate(pieces) if piece.startswith("▁")]
    words = [index for index in range(model.vocab_size()) if index and not model.is_byte(index)] + blanks * 2
    quoted = [model.encode(text) for text in TEXTS]
    sequences = [*quoted, *drawn(words, quoted)]
    texts = [model.decode(ids) for ids in sequences]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.model")
        path.write_bytes(model.serialized_model_proto())
        slow = LlamaTokenizer(str(path), legacy=False, add_prefix_space=prefix)
        for ids, text in zip(sequences, texts, strict=True):
            told = slow.decode(ids, skip_special_tokens=True, spaces_between_special_tokens=False)
            assert told == text
    return {"pieces": pieces, "cases": list(zip(sequences, texts, strict=True))}


def of_gpt2() -> dict[str, Any]:
    letters = bytes_to_unicode()
    pieces = [letter for byte, letter in sorted(letters.items()) if byte not in NEVER]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocabulary.write_text(json.dumps({piece: index for index, piece in enumerate([*pieces, "<end>"])}))
        merges.write_text("#version: 0.2\n")
        special = dict.fromkeys(("unk_token", "bos_token", "eos_token"), "<end>")
        slow = GPT2Tokenizer(str(vocabulary), str(merges), **special)
        slow.add_tokens([AddedToken(letter, normalized=False) for letter in LETTERS])
        added = [slow.convert_tokens_to_ids(letter) for letter in LETTERS]
        quoted = [slow.encode(text) for text in TEXTS]
        sequences = [*quoted, *drawn([*added, slow.convert_tokens_to_ids("<end>")], quoted)]
        options = {"skip_special_tokens": True, "spaces_between_special_tokens": False}
        cases = [(ids, slow.decode(ids, clean_up_tokenization_spaces=False, **options)) for ids in sequences]
    return {"pieces": [*pieces, "<end>"], "added": LETTERS, "cases": cases}


if __name__ == "__main__":
    written = {
        "sentencepiece": of_sentencepiece(prefix=True),
        "sentencepiece without a prefix": of_sentencepiece(prefix=False),
        "gpt2 with added letters": of_gpt2(),
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(written, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
