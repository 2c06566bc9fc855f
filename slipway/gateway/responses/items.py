"""The items of a response's input, and the messages that they make."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import FailFast, Field, JsonValue, Tag
from typing_extensions import TypeAliasType

from slipway.gateway.bounds import MAX_ITEMS, MAX_PARTS
from slipway.gateway.query import Call, Message, add_call, read_arguments
from slipway.gateway.responses.tools import CalledFunction
from slipway.gateway.shapes.body import (
    LEAVE_OUT,
    TEXT_ONLY,
    Body,
    Ignored,
    NonEmpty,
    either,
    of_type,
    only,
    selected,
)

_KINDS = ("message", "function_call", "function_call_output", "reasoning")


class ContentPart(Body):
    """A piece of a message: input_text as clients write it, output_text as answers have it."""

    type: Annotated[JsonValue, only("input_text", "output_text", advice=TEXT_ONLY)]
    text: str
    annotations: Ignored = None
    logprobs: Ignored = None
    prompt_cache_breakpoint: Ignored = None


ItemContent = Annotated[
    Annotated[str, Tag("(string)")]
    | Annotated[list[ContentPart], Field(max_length=MAX_PARTS), Tag("(list)")],
    selected(either(string=str, list=list), "must be a string or a list of text parts"),
]


class MessageItem(Body):
    """One turn of a conversation, or an earlier answer that the client sends back."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: ItemContent
    id: Ignored = None
    status: Ignored = None
    phase: Ignored = None


class FunctionCallItem(Body):
    """A call that the model made in an earlier answer."""

    type: Literal["function_call"]
    call_id: NonEmpty
    name: NonEmpty
    arguments: str
    id: Ignored = None
    status: Ignored = None
    caller: Ignored = None
    namespace: NonEmpty | None = None
    async_: Annotated[JsonValue, only(False, advice=LEAVE_OUT), Field(alias="async")] = None


class FunctionCallOutputItem(Body):
    """The result of a call."""

    type: Literal["function_call_output"]
    call_id: NonEmpty
    output: ItemContent
    id: Ignored = None
    status: Ignored = None
    caller: Ignored = None


class ReasoningItem(Body):
    """What the model thought in an earlier answer; the model does not see it again."""

    type: Literal["reasoning"]
    id: Ignored = None
    summary: Ignored = None
    content: Ignored = None
    encrypted_content: Ignored = None
    status: Ignored = None


Item = Annotated[
    Annotated[MessageItem, Tag("(message)")]
    | Annotated[FunctionCallItem, Tag("(function_call)")]
    | Annotated[FunctionCallOutputItem, Tag("(function_call_output)")]
    | Annotated[ReasoningItem, Tag("(reasoning)")],
    selected(
        of_type(*_KINDS, default="message"), f"must be an item whose type is one of {', '.join(_KINDS)}"
    ),
]


# A type alias, because FailFast cannot be hashed, and the members of a union must be.
Items = TypeAliasType("Items", Annotated[list[Item], Field(min_length=1, max_length=MAX_ITEMS), FailFast()])


def item_messages(items: Sequence[Item]) -> tuple[Message, ...]:
    """The messages that the field `input` has."""
    messages: list[Message] = []
    for item in items:
        match item:
            case MessageItem():
                messages.append(Message(item.role, _joined(item.content)))
            case FunctionCallItem():
                function = CalledFunction(item.name, item.namespace)
                add_call(messages, Call(item.call_id, function.flat, read_arguments(item.arguments)))
            case FunctionCallOutputItem():
                messages.append(Message("tool", _joined(item.output), call_id=item.call_id))
    return tuple(messages)


def _joined(content: str | list[ContentPart]) -> str:
    return content if isinstance(content, str) else "\n".join(part.text for part in content)
