"""The items of a response's input, and what they say in a chat; for the body in `gateway.api.responses`."""

from typing import Annotated, Literal

from pydantic import Discriminator, FailFast, Field, JsonValue, Tag
from typing_extensions import TypeAliasType

from slipway.gateway.api.body import LEAVE_OUT, TEXT_ONLY, Body, Ignored, NonEmpty, either, of_type, only
from slipway.gateway.bounds import MAX_ITEMS, MAX_PARTS
from slipway.gateway.translation import Translation

_KINDS = ("message", "function_call", "function_call_output", "reasoning")


class ContentPart(Body):
    """A piece of a message; input_text as clients write it, output_text as answers bring it."""

    type: Annotated[JsonValue, only("input_text", "output_text", advice=TEXT_ONLY)]
    text: str
    annotations: Ignored = None
    logprobs: Ignored = None
    prompt_cache_breakpoint: Ignored = None


Content = Annotated[
    Annotated[str, Tag("(string)")]
    | Annotated[list[ContentPart], Field(max_length=MAX_PARTS), Tag("(list)")],
    Discriminator(
        either(string=str, list=list),
        custom_error_type="content_type",
        custom_error_message="must be a string or a list of text parts",
    ),
]


class MessageItem(Body):
    """One turn of a conversation, or an earlier answer that is given back."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
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
    namespace: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None
    async_: Annotated[JsonValue, only(False, advice=LEAVE_OUT), Field(alias="async")] = None


class FunctionCallOutputItem(Body):
    """What a call gave back."""

    type: Literal["function_call_output"]
    call_id: NonEmpty
    output: Content
    id: Ignored = None
    status: Ignored = None
    caller: Ignored = None


class ReasoningItem(Body):
    """What the model thought in an earlier answer; it is not shown to it again."""

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
    Discriminator(
        of_type(*_KINDS, default="message"),
        custom_error_type="item_type",
        custom_error_message=f"must be an item whose type is one of {', '.join(_KINDS)}",
    ),
]


# An alias of its own, because FailFast cannot be hashed, as the members of a union must.
Items = TypeAliasType("Items", Annotated[list[Item], Field(min_length=1, max_length=MAX_ITEMS), FailFast()])


def say(chat: Translation, item: Item, source: str) -> None:
    """Add what the client's field `source` holds to the chat."""
    match item:
        case MessageItem():
            chat.say({"role": item.role, "content": _joined(item.content)}, source)
        case FunctionCallItem():
            chat.call(item.call_id, item.name, item.arguments, source)
        case FunctionCallOutputItem():
            output = _joined(item.output)
            chat.say({"role": "tool", "tool_call_id": item.call_id, "content": output}, source)


def _joined(content: str | list[ContentPart]) -> str:
    """The text of parts, joined as those of a chat's message are."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)
