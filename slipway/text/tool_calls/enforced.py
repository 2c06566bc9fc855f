"""Calls that a grammar enforces on any model (`tool_choice` required or a named tool): schema and parser."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from slipway.text.tool_calls.base import ToolCallParser
from slipway.text.tool_calls.scanning import Reading

# Keys whose values are schemas by name, and keys whose values are data.
_SCHEMAS_BY_NAME = {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"}
_DATA = {"const", "enum", "default", "examples", "example"}
_DESCRIBING = {
    "type",
    "title",
    "description",
    "properties",
    "required",
    "additionalProperties",
    "$schema",
    "strict",
}
# No tool has this name, for its dot.
_ANSWER = "the.answer"
_NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


class EnforcedParser(ToolCallParser):
    """[{"name": …, "parameters": {…}}, …], and nothing else."""

    begins = "["
    closers = (",", "]")

    @staticmethod
    def written(name: str, arguments: str) -> str:
        """A call in this format."""
        return f'[{{"name": {json.dumps(name)}, "parameters": {arguments}}}]'

    def _read(self, first: str) -> Reading[None]:
        yield from self._array()


def schema(tools: Sequence[Mapping[str, Any]], choice: str | None, parallel: bool) -> dict[str, Any]:
    """The JSON schema of the answer.

    tools: as OpenAI's API has them ({"type": "function", "function": {…}}). choice: the one tool that may be
    called; None for any of them. parallel: whether there may be several calls.

    Each tool's parameters are in `$defs`, and their references point there: xgrammar follows a reference
    through objects only, not into `anyOf`.
    """
    functions = [tool["function"] for tool in tools]
    offered = {
        function["name"]: _parameters(function)
        for function in functions
        if choice is None or function["name"] == choice
    }
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": name}, "parameters": {"$ref": f"#/$defs/{name}"}},
            "required": ["name", "parameters"],
            "additionalProperties": False,
        }
        for name in offered
    ]
    return {
        "type": "array",
        "items": calls[0] if len(calls) == 1 else {"anyOf": calls},
        "minItems": 1,
        **({} if parallel else {"maxItems": 1}),
        "$defs": offered,
    }


def schema_or(calls: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of an answer that is either `calls`, made by `schema`, or valid under `answer`."""
    definitions = {**calls["$defs"], _ANSWER: _rebased(answer, _ANSWER)}
    of_calls = {key: value for key, value in calls.items() if key != "$defs"}
    return {"anyOf": [of_calls, {"$ref": f"#/$defs/{_ANSWER}"}], "$defs": definitions}


def _parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments, which are always an object."""
    given = function.get("parameters") or {}
    describes_only = given.keys() <= _DESCRIBING and not given.get("properties")
    if describes_only and not given.get("additionalProperties"):
        return _NO_PARAMETERS
    rebased: dict[str, Any] = _rebased(given, function["name"])
    for key in ("$schema", "$id"):  # they belong to a document, not to a part
        rebased.pop(key, None)
    return rebased if "$ref" in rebased else {"type": "object", **rebased}


def _rebased(value: Any, name: str) -> Any:
    """A schema with the references to its own root changed to `$defs/NAME`."""
    if isinstance(value, list):
        return [_rebased(item, name) for item in value]
    if not isinstance(value, dict):
        return value
    rebased: dict[str, Any] = {}
    for key, inner in value.items():
        if key == "$ref" and isinstance(inner, str) and inner.startswith("#"):
            rebased[key] = f"#/$defs/{name}{inner[1:]}"
        elif key in _SCHEMAS_BY_NAME and isinstance(inner, dict):
            rebased[key] = {label: _rebased(each, name) for label, each in inner.items()}
        else:
            rebased[key] = inner if key in _DATA else _rebased(inner, name)
    return rebased
