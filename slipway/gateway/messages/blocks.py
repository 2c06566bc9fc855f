"""The content blocks of Anthropic's messages, and the messages that they make."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, JsonValue, Tag

from slipway.contract.errors import InvalidRequest
from slipway.gateway.bounds import MAX_PARTS
from slipway.gateway.query import Call, Message, add_call
from slipway.gateway.shapes.body import TEXT_ONLY, Body, Ignored, NonEmpty, either, of_type, only, selected

_Role = Literal["user", "assistant", "system"]


class TextBlock(Body):
    """A text, or a piece of it."""

    type: Literal["text"]
    text: str
    citations: Annotated[JsonValue, only([], advice=TEXT_ONLY)] = None
    cache_control: Ignored = None


_Texts = Annotated[list[TextBlock], Field(max_length=MAX_PARTS)]


class ToolUseBlock(Body):
    """A call that the model made in an earlier answer."""

    type: Literal["tool_use"]
    id: NonEmpty
    name: NonEmpty
    input: dict[str, JsonValue]
    caller: Ignored = None
    toolset_name: Ignored = None
    cache_control: Ignored = None


class ToolResultBlock(Body):
    """The result of a call."""

    type: Literal["tool_result"]
    tool_use_id: NonEmpty
    content: (
        Annotated[
            Annotated[str, Tag("(string)")] | Annotated[_Texts, Tag("(list)")],
            selected(either(string=str, list=list), "must be a string or a list of text blocks"),
        ]
        | None
    ) = None
    is_error: bool | None = None
    toolset_name: Ignored = None
    cache_control: Ignored = None


class ThinkingBlock(Body):
    """What the model thought in an earlier answer; the model does not see it again."""

    type: Literal["thinking"]
    thinking: Ignored
    signature: Ignored = None


class RedactedThinkingBlock(Body):
    """A thinking block that Anthropic's servers encrypted."""

    type: Literal["redacted_thinking"]
    data: Ignored = None


_BLOCKS = ("text", "tool_use", "tool_result", "thinking", "redacted_thinking")


InputBlock = Annotated[
    Annotated[TextBlock, Tag("(text)")]
    | Annotated[ToolUseBlock, Tag("(tool_use)")]
    | Annotated[ToolResultBlock, Tag("(tool_result)")]
    | Annotated[ThinkingBlock, Tag("(thinking)")]
    | Annotated[RedactedThinkingBlock, Tag("(redacted_thinking)")],
    selected(of_type(*_BLOCKS), f"must be a block whose type is one of {', '.join(_BLOCKS)}, as {TEXT_ONLY}"),
]


class MessageParam(Body):
    """One turn of a conversation."""

    role: _Role
    content: Annotated[
        Annotated[str, Tag("(string)")]
        | Annotated[list[InputBlock], Field(max_length=MAX_PARTS), Tag("(list)")],
        selected(either(string=str, list=list), "must be a string or a list of blocks"),
    ]


SystemText = Annotated[
    Annotated[str, Tag("(string)")] | Annotated[_Texts, Tag("(list)")],
    selected(either(string=str, list=list), "must be a string or a list of text blocks"),
]


def read_messages(params: Sequence[MessageParam]) -> list[Message]:
    """The field `messages` as a query has it. Raises InvalidRequest where a block is out of place."""
    messages: list[Message] = []
    for index, param in enumerate(params):
        if isinstance(param.content, str):
            messages.append(Message(param.role, param.content))
        else:
            _add_blocks(messages, param.role, param.content, f"messages[{index}]")
    return messages


def joined(content: str | list[TextBlock]) -> str:
    """The text of blocks, joined by line breaks."""
    return content if isinstance(content, str) else "\n".join(block.text for block in content)


def _add_blocks(messages: list[Message], role: _Role, blocks: Sequence[InputBlock], source: str) -> None:
    # A message of the assistant's has text and calls; each result is a message of its own.
    texts: list[str] = []

    def end_text() -> None:
        if texts:
            messages.append(Message(role, "\n".join(texts)))
            texts.clear()

    for index, block in enumerate(blocks):
        match block:
            case TextBlock():
                texts.append(block.text)
            case ToolResultBlock() if role == "user":
                end_text()
                content = "Error: " * bool(block.is_error) + joined(block.content or "")
                messages.append(Message("tool", content, call_id=block.tool_use_id))
            case ToolUseBlock() if role == "assistant":
                end_text()
                add_call(messages, Call(block.id, block.name, block.input))
            case ToolResultBlock() | ToolUseBlock():
                owner = "user" if isinstance(block, ToolResultBlock) else "assistant"
                where = f"{source}.content[{index}]"
                raise InvalidRequest(
                    f"{where} is a {block.type}, which belongs into a message of the {owner}'s, and "
                    f"{source}.role is {role}; move it.",
                    where,
                )
    end_text()
