"""A chat's turns and tools, checked, and as its chat template reads them; for `validation` and `prompter`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from slipway.contract.errors import InvalidRequest
from slipway.gateway.api.chat import ChatCompletionRequest, Message
from slipway.gateway.api.tools import EarlierCall, NamedChoice
from slipway.gateway.errors import MissingField


def check_conversation(messages: Sequence[Message]) -> None:
    """Raise InvalidRequest, which names the field, for a turn that lacks something or has too much."""
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if message.content is None and not message.tool_calls:
            raise MissingField(
                f"{where}.content is missing; only an assistant's turn with tool_calls can do without.",
                f"{where}.content",
            )
        if message.tool_calls and message.role != "assistant":
            raise InvalidRequest(
                f"{where}.tool_calls is given, but only the assistant calls tools, and the turn is the "
                f"{message.role}'s; leave it out.",
                f"{where}.tool_calls",
            )
        if (message.role == "tool") != (message.tool_call_id is not None):
            wrong = (
                "is missing; a tool's turn says which call it answers"
                if message.role == "tool"
                else f"is given, but the turn is the {message.role}'s; leave it out"
            )
            raise InvalidRequest(f"{where}.tool_call_id {wrong}.", f"{where}.tool_call_id")
        for number, call in enumerate(message.tool_calls or ()):
            _arguments(call, f"{where}.tool_calls[{number}].function.arguments")


def check_tools(body: ChatCompletionRequest) -> None:
    """Raise InvalidRequest, which names the field, where tools and tool_choice do not fit each other."""
    names = [tool.function.name for tool in body.tools or ()]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidRequest(
                f"tools[{index}].function.name is {name}, as that of an earlier one; give each its own.",
                f"tools[{index}].function.name",
            )
    if not names and body.enforces_calls:
        raise InvalidRequest("tool_choice asks for a call, but there are no tools; give some.", "tool_choice")
    choice = body.tool_choice
    if isinstance(choice, NamedChoice) and choice.function.name not in names:
        raise InvalidRequest(
            f"tool_choice names {choice.function.name}, which is not among the tools: {', '.join(names)}.",
            "tool_choice",
        )
    # A response_format is what an answer in words has to be; agents send theirs with every turn.
    if body.enforces_calls and body.structured_outputs is not None:
        raise InvalidRequest(
            "tool_choice and structured_outputs both say what the answer must be; give one of them.",
            "tool_choice",
        )


def conversation(messages: Sequence[Message], system: str | None) -> list[Mapping[str, Any]]:
    """The turns as a chat template reads them.

    system: the recipe's default system prompt, put first when the conversation brings none.
    Templates know no developer role; it is OpenAI's newer name for system.
    """
    turns = [_turn(message, f"messages[{index}]") for index, message in enumerate(messages)]
    if system is not None and all(turn["role"] != "system" for turn in turns):
        turns.insert(0, {"role": "system", "content": system})
    return turns


def tools_offered(body: ChatCompletionRequest) -> list[dict[str, Any]]:
    """The tools as chat templates and schemas read them: as in OpenAI's API, without what was not given."""
    return [tool.model_dump(exclude_none=True) for tool in body.offered]


def _turn(message: Message, where: str) -> Mapping[str, Any]:
    turn: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        # Templates tell a turn that is nothing but calls by its null.
        "content": message.text if message.text or not message.tool_calls else None,
    }
    for name in ("name", "tool_call_id", "reasoning_content"):
        if getattr(message, name):
            turn[name] = getattr(message, name)
    if message.tool_calls:
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": _arguments(call, f"{where}.tool_calls[{number}].function.arguments"),
                },
            }
            for number, call in enumerate(message.tool_calls)
        ]
    return turn


def _arguments(call: EarlierCall, where: str) -> dict[str, JsonValue]:
    """Templates want the object itself."""
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise InvalidRequest(f"{where} must be a JSON object, as text.", where)
    return arguments
