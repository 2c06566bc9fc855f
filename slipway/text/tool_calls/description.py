"""Tools, calls and results in words, for a model whose chat template cannot say them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from slipway.text.tool_calls.base import ToolCallParser

_INTRODUCTION = (
    "You can call tools. Each is described by a JSON object:\n\n{tools}\n\n"
    "To call one, answer with nothing but its name and its arguments, written like this:\n\n{example}"
)
_EXAMPLE = ("TOOL_NAME", '{"PARAMETER": "VALUE"}')


def with_tools_in_words(
    turns: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], form: type[ToolCallParser]
) -> list[Mapping[str, Any]]:
    """The turns with the tools described in the system turn, which is the first.

    tools: in the format of OpenAI's API; at least one. form: the parser whose format calls have.
    """
    functions = [json.dumps(tool["function"], ensure_ascii=False) for tool in tools]
    introduction = _INTRODUCTION.format(tools="\n".join(functions), example=form.written(*_EXAMPLE))
    if turns and turns[0]["role"] == "system":
        first = {**turns[0], "content": f"{turns[0]['content']}\n\n{introduction}"}
        return [first, *turns[1:]]
    return [{"role": "system", "content": introduction}, *turns]


def with_calls_in_words(
    turns: Sequence[Mapping[str, Any]], form: type[ToolCallParser]
) -> list[Mapping[str, Any]]:
    """The turns with calls and their results as text. form: the parser whose format calls have."""
    return [_in_words(turn, form) for turn in turns]


def _in_words(turn: Mapping[str, Any], form: type[ToolCallParser]) -> Mapping[str, Any]:
    if turn["role"] == "tool":
        return {"role": "user", "content": f"The tool's answer:\n{turn['content']}"}
    calls = [
        form.written(call["function"]["name"], json.dumps(call["function"]["arguments"], ensure_ascii=False))
        for call in turn.get("tool_calls", ())
    ]
    if not calls:
        return turn
    rest = {name: value for name, value in turn.items() if name != "tool_calls"}
    return {**rest, "content": "\n".join(filter(None, [turn["content"], *calls]))}
