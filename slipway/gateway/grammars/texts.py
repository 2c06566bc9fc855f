"""Grammars made of what a client sends: schemas and choices."""

import json
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from slipway.contract.generation import Grammar

ANY_OBJECT = Grammar("json_schema", '{"type": "object"}')


def schema_grammar(schema: str | Mapping[str, JsonValue]) -> Grammar:
    """A JSON document that is valid under the schema."""
    return Grammar("json_schema", schema if isinstance(schema, str) else json.dumps(schema))


def choice_grammar(choices: Sequence[str]) -> Grammar:
    """One of these texts, in GBNF, which llguidance and TensorRT-LLM's xgrammar both read."""
    quoted = (json.dumps(text, ensure_ascii=False) for text in choices)
    return Grammar("ebnf_grammar", "root ::= " + " | ".join(quoted))
