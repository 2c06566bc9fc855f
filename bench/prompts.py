"""Prompts: from a file, or random words of a given length in tokens."""

import random
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

from tokenizers import Tokenizer

from bench.answer import RequestFailed

# Everyday words that tokenizers of all families keep as one token after a space.
WORDS = (  # noqa: SIM905 (a list of 100 quoted words is no easier to read)
    "time year people way day man thing woman life child world school state family student group country "
    "problem hand part place case week company system program question work government number night point "
    "home water room mother area money story fact month lot right study book eye job word business issue "
    "side kind head house service friend father power hour game line end member law car city community name "
    "president team minute idea body information back parent face others level office door health person "
    "art war history party result change morning reason research girl guy moment air teacher force education"
).split()
PROBE_WORDS = (32, 160)


def read(path: Path) -> list[str]:
    """The prompts of a file: one per line, empty lines left out.

    Raises RequestFailed when the file has no prompt, or is not UTF-8 text.
    """
    try:
        prompts = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise RequestFailed(f"--prompts {path} is not UTF-8 text: save it as UTF-8") from None
    if not prompts:
        raise RequestFailed(f"--prompts {path} has no prompt in it")
    return prompts


def shuffled(prompts: list[str], seed: int) -> Iterator[str]:
    """The prompts without end, in another random order each time."""
    generator = random.Random(seed)
    while True:
        yield from generator.sample(prompts, len(prompts))


def random_texts(words: int, seed: int) -> Iterator[str]:
    """Texts of `words` random words, without end. No two are alike, so no prefix cache can serve them."""
    generator = random.Random(seed)
    while True:
        yield " ".join(generator.choices(WORDS, k=words))


def words_for(tokens: int, count_tokens: Callable[[str], int], seed: int) -> int:
    """The number of words in a prompt of about `tokens` tokens, chat template included.

    count_tokens: the prompt tokens of a text, chat template included. Two texts give the tokens per word and
        the tokens of the template, so no tokenizer is needed.
    Raises RequestFailed when the template alone is longer than `tokens`.
    """
    few, many = PROBE_WORDS
    at_few = count_tokens(next(random_texts(few, seed)))
    at_many = count_tokens(next(random_texts(many, seed)))
    per_word = (at_many - at_few) / (many - few)
    template = at_few - per_word * few
    words = round((tokens - template) / per_word)
    if words < 1:
        raise RequestFailed(
            f"--prompt-tokens {tokens} leaves no room: the chat template alone takes {template:.0f} tokens"
        )
    return words


def token_prompts(tokenizer_file: Path, seed: int) -> Callable[[int, int], list[list[int]]]:
    """A function that makes n new prompts of m token ids."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    seeds = count(seed)

    def make(number: int, length: int) -> list[list[int]]:
        # A word is one token or more, so `length` words are enough.
        texts = islice(random_texts(length, next(seeds)), number)
        return [tokenizer.encode(text, add_special_tokens=False).ids[:length] for text in texts]

    return make
