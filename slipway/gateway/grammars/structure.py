"""What an answer must match, as a grammar."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar
from slipway.gateway.bounds import MAX_GRAMMAR_LENGTH
from slipway.gateway.conversation import tool_objects
from slipway.gateway.query import Conversation, Query
from slipway.runtime.grammar.schema import held_to
from slipway.text.tool_calls import enforced

ANY_OBJECT = Grammar("json_schema", '{"type": "object"}')


def schema_grammar(schema: str | Mapping[str, JsonValue]) -> Grammar:
    """A JSON document that is valid under the schema."""
    return Grammar("json_schema", schema if isinstance(schema, str) else json.dumps(schema))


def choice_grammar(choices: Sequence[str]) -> Grammar:
    """One of these texts, in GBNF, which llguidance and TensorRT-LLM's xgrammar both read."""
    quoted = (json.dumps(text, ensure_ascii=False) for text in choices)
    return Grammar("ebnf_grammar", "root ::= " + " | ".join(quoted))


def grammar_source(query: Query) -> str:
    """The client's field that says what the answer must match."""
    if isinstance(query.prompt, Conversation) and query.prompt.must_call:
        return query.named("tools")
    return query.named("response_format")


def answer_grammar(query: Query) -> Grammar | None:
    """What the answer must match, calls included; None where any text will do.

    Raises InvalidRequest where it is longer than this server compiles.
    """
    grammar = query.grammar
    if isinstance(query.prompt, Conversation):
        if query.prompt.must_call:
            grammar = schema_grammar(_calls_schema(query.prompt))
        elif query.prompt.offered and grammar is not None:
            either = enforced.schema_or(_calls_schema(query.prompt), json.loads(grammar.text))
            grammar = schema_grammar(either)
    if grammar is not None and len(grammar.text) > MAX_GRAMMAR_LENGTH:
        source = grammar_source(query)
        raise InvalidRequest(
            f"{source} has {len(grammar.text)} characters; the most is {MAX_GRAMMAR_LENGTH}, so simplify it.",
            source,
        )
    return grammar


def _calls_schema(conversation: Conversation) -> dict[str, Any]:
    """Raises InvalidRequest with the tool whose numbers no grammar holds to."""
    for tool in conversation.offered:
        try:
            held_to(json.dumps(tool.parameters))
        except ValueError as error:
            raise InvalidRequest(
                f"{tool.source}, the tool {tool.name}, cannot be enforced ({error}); leave out the keyword.",
                tool.source,
            ) from None
    return enforced.schema(
        tool_objects(conversation.offered), conversation.only_tool, conversation.parallel_calls
    )
