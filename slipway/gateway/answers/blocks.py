"""The blocks that an answer consists of, in order: text, reasoning, tool calls."""

from dataclasses import dataclass
from typing import Literal

from slipway.text.parts import AnswerReasoning, AnswerText, CallArguments, CallStart, Part


@dataclass(slots=True)
class Block:
    """One block. text: of a call, its arguments, a JSON object. name: of the called tool."""

    kind: Literal["text", "reasoning", "call"]
    text: str = ""
    name: str = ""


def grow(blocks: list[Block], part: Part) -> tuple[bool, str]:
    """Add `part`. Returns whether it began a block, and what it added to the text of the last block.

    The arguments of a call come before the next call begins, so a part belongs to the last block or begins
    another.
    """
    match part:
        case CallStart(_, name):
            blocks.append(Block("call", name=name))
            return True, ""
        case CallArguments(_, text):
            blocks[-1].text += text
            return False, text
        case AnswerText(text):
            kind: Literal["text", "reasoning"] = "text"
        case AnswerReasoning(text):
            kind = "reasoning"
    begins = not blocks or blocks[-1].kind != kind
    if begins:
        blocks.append(Block(kind))
    blocks[-1].text += text
    return begins, text
