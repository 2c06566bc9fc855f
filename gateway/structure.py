"""What the answer to a body must match, as a `Grammar`; asked by `gateway.validation` and `gateway.app`."""

import json
from collections.abc import Mapping

from pydantic import JsonValue

from engines.errors import InvalidRequest
from engines.generation import Grammar
from gateway.api.body import GenerationBody, JsonObjectFormat, JsonSchemaFormat, StructuredOutputs

_RESPONSE_FORMAT, _STRUCTURED_OUTPUTS = "response_format", "structured_outputs"
_ANY_OBJECT = Grammar("json_schema", '{"type": "object"}')


def field(body: GenerationBody) -> str:
    """The field of `body` that says what the answer must match."""
    return _RESPONSE_FORMAT if body.structured_outputs is None else _STRUCTURED_OUTPUTS


def grammar(body: GenerationBody) -> Grammar | None:
    """What the answer must match; None for any text.

    Raises InvalidRequest where the body says it twice, or not at all where it should.
    """
    asked = _of_format(body)
    if body.structured_outputs is None:
        return asked
    if asked is not None:
        raise InvalidRequest(
            "response_format and structured_outputs both say what the answer must be; give one of them.",
            _STRUCTURED_OUTPUTS,
        )
    return _of_structure(body.structured_outputs)


def _of_format(body: GenerationBody) -> Grammar | None:
    match body.response_format:
        case JsonObjectFormat():
            return _ANY_OBJECT
        case JsonSchemaFormat(json_schema=named):
            return _of_schema(named.schema_)
    return None


def _of_structure(asked: StructuredOutputs) -> Grammar:
    ways = {
        "json": None if asked.json_ is None else _of_schema(asked.json_),
        "regex": None if asked.regex is None else Grammar("regex", asked.regex),
        "choice": None if asked.choice is None else _of_choice(asked.choice),
        "grammar": None if asked.grammar is None else Grammar("ebnf_grammar", asked.grammar),
        "json_object": _ANY_OBJECT if asked.json_object else None,
    }
    given = {name: way for name, way in ways.items() if way is not None}
    if len(given) != 1:
        raise InvalidRequest(
            f"structured_outputs has {' and '.join(given) or 'nothing'}; give one of {', '.join(ways)}.",
            _STRUCTURED_OUTPUTS,
        )
    (way,) = given.values()
    return way


def _of_schema(schema: str | Mapping[str, JsonValue]) -> Grammar:
    return Grammar("json_schema", schema if isinstance(schema, str) else json.dumps(schema))


def _of_choice(choice: list[str]) -> Grammar:
    """Lark's strings are written as JSON's."""
    return Grammar(
        "ebnf_grammar", "start: " + " | ".join(json.dumps(text, ensure_ascii=False) for text in choice)
    )
