"""How much one request may ask for, beside the engine's own limits; read by `api`, `validation` and `app`.

What an operator may want to change is an option (`gateway.settings`); these are far from honest use.
"""

from collections.abc import Sequence

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar

# Azure's bound for a chat. A message takes four tokens and more, so these fill a context of 8k by themselves.
MAX_MESSAGES = 2048
# Texts, blocks or calls of one message. Each costs some microseconds in which no stream goes on.
MAX_PARTS = 512
# Of a response's input, where each call, result and thought is an item of its own.
MAX_ITEMS = 4 * MAX_MESSAGES
# OpenAI's bound.
MAX_STOP_STRINGS = 4
# Characters in all. A stream holds text back as long as it may be the beginning of a stop string.
MAX_STOP_LENGTH = 1024
# OpenAI's bound of n for chats; also of prompts in a list. More than the engine has slots for wait in line.
MAX_CHOICES = 128
# OpenAI's for chats; its plain completions end at 5, which is less than other servers' clients ask for.
MAX_TOP_LOGPROBS = 20
# OpenAI's bound of tools.
MAX_TOOLS = 128
# OpenAI's bound of a bias, either way.
MAX_BIAS = 100
# Tokens with a bias. Each is an addition at every step of the answer, and a vocabulary has 150,000 entries.
MAX_BIASES = 2048
# Characters of a schema, grammar, regular expression or list of choices: OpenAI's bound for the names and
# values of a schema. A compiler may take time that grows faster than the text.
MAX_GRAMMAR_LENGTH = 120_000


def check_stop_length(stop: Sequence[str]) -> None:
    """Raise InvalidRequest when the request's stop strings are longer together than this server takes."""
    length = sum(map(len, stop))
    if length > MAX_STOP_LENGTH:
        raise InvalidRequest(
            f"stop has {length} characters in all; the most is {MAX_STOP_LENGTH}, so shorten the strings.",
            "stop",
        )


def check_grammar_length(grammar: Grammar, field: str) -> None:
    """Raise InvalidRequest when what `field` says of the answer is longer than this server compiles."""
    length = len(grammar.text)
    if length > MAX_GRAMMAR_LENGTH:
        raise InvalidRequest(
            f"{field} has {length} characters; the most is {MAX_GRAMMAR_LENGTH}, so simplify it.", field
        )


def check_tokens(max_tokens: Sequence[int], most: int, field: str) -> None:
    """Raise InvalidRequest when several answers may have more tokens together than `most`.

    max_tokens: of each answer; a single one may always fill the engine's context. field: of the body, which
        makes them several.
    """
    if len(max_tokens) > 1 and sum(max_tokens) > most:
        raise InvalidRequest(
            f"{field} makes {len(max_tokens)} answers, which may have {sum(max_tokens)} tokens in all; the "
            f"most is {most}. Give a smaller max_tokens or ask for fewer answers, or start the server with a "
            "larger --max-request-tokens.",
            field,
        )
