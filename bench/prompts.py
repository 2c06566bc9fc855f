"""What the users ask: prompts from a file, or made to a length in tokens; called by the command."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

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


def from_file(path: Path) -> list[str]:
    """One prompt per line, empty lines left out.

    Raises RequestFailed when there is none, or the file is no text.
    """
    try:
        given = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise RequestFailed(f"--prompts {path} is not UTF-8 text; save it so") from None
    if not given:
        raise RequestFailed(f"--prompts {path} has no prompt in it")
    return given


def endless(prompts: list[str], seed: int) -> Iterator[str]:
    """The prompts in random order, over and over."""
    drawn = random.Random(seed)
    while True:
        yield from drawn.sample(prompts, len(prompts))


def made(words: int, seed: int) -> Iterator[str]:
    """Prompts of `words` random words without end, no two alike, so that a prefix cache cannot serve them."""
    drawn = random.Random(seed)
    while True:
        yield " ".join(drawn.choices(WORDS, k=words))


def words_for(tokens: int, count: Callable[[str], int], seed: int) -> int:
    """How many words make a prompt of about `tokens` tokens, chat template included.

    count: asks the server how many prompt tokens a text becomes; two texts give the slope and the template's
        share, so that no tokenizer is needed here.
    Raises RequestFailed when the template alone is longer.
    """
    few, many = PROBE_WORDS
    at_few = count(next(made(few, seed)))
    at_many = count(next(made(many, seed)))
    per_word = (at_many - at_few) / (many - few)
    template = at_few - per_word * few
    words = round((tokens - template) / per_word)
    if words < 1:
        raise RequestFailed(
            f"--prompt-tokens {tokens} leaves no room: the chat template alone takes {template:.0f} tokens"
        )
    return words
