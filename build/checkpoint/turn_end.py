"""What ends the assistant's turn in a chat template."""

import re
from dataclasses import dataclass

from slipway.contract.errors import EngineRefused, InvalidRequest
from slipway.text.special_tokens import turn_marks
from slipway.text.template import ChatTemplate, TemplateSource
from slipway.text.tokenizer import Tokenizer

# Words that no template has.
_ANSWER = "slipway-probe-answer"
_TURNS = [
    {"role": "user", "content": "slipway-probe-question"},
    {"role": "assistant", "content": _ANSWER},
    {"role": "user", "content": "slipway-probe-next"},
]
# What looks like the name of a token: <|im_end|>, </s>, <end_of_turn>.
_NAME = re.compile(r"\s*(<[^<>\s]{1,40}>)")


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """token_id: None where `text` looks like the name of a token, and the tokenizer does not have it."""

    text: str
    token_id: int | None


def turn_end(template: str, tokenizer: Tokenizer) -> TurnEnd | None:
    """The special token directly behind the content of an assistant's turn; blanks may stand between.

    Some templates end no last turn, so a turn that another one follows is tried too. None where a template
    puts no such token there, is no valid template, or refuses a plain conversation.
    """
    try:
        chats = ChatTemplate.of(TemplateSource(template, None, tokenizer.special_tokens))
    except EngineRefused:
        return None
    found = [_behind(chats, count, tokenizer) for count in (2, 3)]
    known = [end for end in found if end is not None and end.token_id is not None]
    return next(iter(known), found[0])


def _behind(chats: ChatTemplate, count: int, tokenizer: Tokenizer) -> TurnEnd | None:
    try:
        prompt = chats.render(_TURNS[:count], add_generation_prompt=False)
    except InvalidRequest:
        return None
    _, shown, rest = prompt.rpartition(_ANSWER)
    marks = turn_marks(tokenizer)
    for token in tokenizer.encoder.encode(rest, add_special_tokens=False).ids if shown else ():
        if token in marks:
            return TurnEnd(marks[token], token)
        if tokenizer.vocabulary.join([token]).strip():
            break
    name = _NAME.match(rest) if shown else None
    return TurnEnd(name[1], None) if name else None
