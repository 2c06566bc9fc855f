"""Tools told to a model whose chat template knows none: in its system turn, and in words of our own."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from slipway.text.tool_calls.base import ToolCallParser

_INTRODUCTION = (
    "You can call tools. Each is described by a JSON object:\n\n{tools}\n\n"
    "To call one, answer with nothing but its name and its arguments, written like this:\n\n{example}"
)
_EXAMPLE = ("TOOL_NAME", '{"PARAMETER": "VALUE"}')


def described(
    turns: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], form: type[ToolCallParser]
) -> list[Mapping[str, Any]]:
    """The turns with calls and their results in words, and with the tools in the system turn.

    tools: as OpenAI's API has them; may be none. form: how calls are written.
    """
    told = [_in_words(turn, form) for turn in turns]
    if not tools:
        return told
    functions = [json.dumps(tool["function"], ensure_ascii=False) for tool in tools]
    introduction = _INTRODUCTION.format(tools="\n".join(functions), example=form.written(*_EXAMPLE))
    if told and told[0]["role"] == "system":
        first = {**told[0], "content": f"{told[0]['content']}\n\n{introduction}"}
        return [first, *told[1:]]
    return [{"role": "system", "content": introduction}, *told]


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
