"""What the answer to a body must match, as a `Grammar`; asked by `gateway.validation` and `gateway.app`."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar
from slipway.gateway.api.body import GenerationBody, JsonObjectFormat, JsonSchemaFormat, StructuredOutputs
from slipway.gateway.api.chat import ChatCompletionRequest
from slipway.gateway.api.tools import NamedChoice
from slipway.gateway.bounds import check_grammar_length
from slipway.gateway.conversation import tools_offered
from slipway.text.tool_calls import enforced

_RESPONSE_FORMAT, _STRUCTURED_OUTPUTS = "response_format", "structured_outputs"
_ANY_OBJECT = Grammar("json_schema", '{"type": "object"}')


def field(body: GenerationBody) -> str:
    """The field of `body` that says what the answer must match."""
    if isinstance(body, ChatCompletionRequest) and body.enforces_calls:
        return "tools"
    return _RESPONSE_FORMAT if body.structured_outputs is None else _STRUCTURED_OUTPUTS


def binds_calls(body: ChatCompletionRequest) -> bool:
    """Whether calls, if there are some, are written as the grammar has them, not as the model would."""
    return body.enforces_calls or grammar(body) is not None


def grammar(body: GenerationBody) -> Grammar | None:
    """What the answer must match; None for any text.

    Raises InvalidRequest where the body says it twice, or not at all where it should, or at great length.
    """
    asked = _grammar(body)
    if asked is not None:
        check_grammar_length(asked, field(body))
    return asked


def _grammar(body: GenerationBody) -> Grammar | None:
    if isinstance(body, ChatCompletionRequest) and body.enforces_calls:
        return _by_schema(_calls(body))
    asked = _of_format(body)
    if isinstance(body, ChatCompletionRequest) and body.offered:
        return _with_calls(body, asked)
    if body.structured_outputs is None:
        return asked
    if asked is not None:
        raise InvalidRequest(
            "response_format and structured_outputs both say what the answer must be; give one of them.",
            _STRUCTURED_OUTPUTS,
        )
    return _of_structure(body.structured_outputs)


def _calls(body: ChatCompletionRequest) -> dict[str, Any]:
    """The schema of an answer that is calls."""
    named = body.tool_choice.function.name if isinstance(body.tool_choice, NamedChoice) else None
    return enforced.schema(tools_offered(body), named, body.parallel_tool_calls is not False)


def _with_calls(body: ChatCompletionRequest, asked: Grammar | None) -> Grammar | None:
    """What an answer must match that may be calls instead."""
    if body.structured_outputs is not None:
        raise InvalidRequest(
            "structured_outputs binds the answer, so that none of the tools could be called; leave one of "
            "both out, or give a schema with response_format, beside which tools can be called.",
            _STRUCTURED_OUTPUTS,
        )
    return asked and _by_schema(enforced.schema_or(_calls(body), json.loads(asked.text)))


def _by_schema(schema: Mapping[str, Any]) -> Grammar:
    return Grammar("json_schema", json.dumps(schema))


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
    """GBNF, which llguidance and TensorRT-LLM's xgrammar both read; its strings are written as JSON's."""
    return Grammar(
        "ebnf_grammar", "root ::= " + " | ".join(json.dumps(text, ensure_ascii=False) for text in choice)
    )
