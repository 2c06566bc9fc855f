"""A conversation's messages and tools as chat templates read them."""

from collections.abc import Mapping, Sequence
from typing import Any

from slipway.gateway.query import Message, Tool


def template_messages(messages: Sequence[Message], system: str | None) -> list[Mapping[str, Any]]:
    """The messages in the form of OpenAI's API, with the arguments of calls as objects.

    system: the recipe's system prompt, put first where the conversation has none.
    """
    turns = [_as_object(message) for message in messages]
    if system is not None and all(turn["role"] != "system" for turn in turns):
        turns.insert(0, {"role": "system", "content": system})
    return turns


def tool_objects(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The tools in the form of OpenAI's API, without the fields that the client left out."""
    functions = (
        {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": tool.strict,
        }
        for tool in tools
    )
    return [
        {"type": "function", "function": {name: value for name, value in each.items() if value is not None}}
        for each in functions
    ]


def _as_object(message: Message) -> Mapping[str, Any]:
    optional = {
        "name": message.name,
        "tool_call_id": message.call_id,
        "reasoning_content": message.reasoning,
        "tool_calls": [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ],
    }
    return {
        # `developer` is OpenAI's newer name for `system`; templates do not know it.
        "role": "system" if message.role == "developer" else message.role,
        "content": message.content or "",
        **{name: value for name, value in optional.items() if value},
    }
