"""What is refused because xgrammar 0.1.25 would not hold to it; found by walking through what it allows."""

import json
from typing import Any

import pytest

from slipway.contract.generation import Grammar
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.grammars.structure import answer_grammar
from slipway.gateway.grammars.xgrammar import objection


def of_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def of_integer(**bounds: float) -> dict[str, Any]:
    return {"type": "integer", **bounds}


def to_schema(schema: dict[str, Any]) -> str | None:
    return objection(Grammar("json_schema", json.dumps(schema)))


NODE = {"$ref": "#/$defs/node", "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}}
PERSON = of_object(node={"$ref": "#/$defs/node"}) | {"$defs": NODE["$defs"]}
CLOSED = {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        NODE,
        of_object(
            a={"enum": ["é", 'a "b"', 1]}, b={"const": 1.5}, c={"type": ["string", "null"], "maxLength": 2}
        ),
        {"enum": ["active", "inactive", "pending", "in_progress", "done"]},
        {"anyOf": [{"enum": ["low", "medium", "high"]}, {"type": "null"}]},
        of_object(kind={"type": "string", "enum": ["a", "b"], "default": "a"}, title={"type": "string"}),
        {
            "type": "array",
            "items": {"anyOf": [of_object(a={"type": "number"}), {"type": "null"}]},
            "minItems": 1,
        },
        {"type": "array", "prefixItems": [{"type": "integer"}], "items": False, "minItems": 1},
        {"type": "string", "pattern": "^(red|green)-[a-z0-9_]{1,3}\\d+\\.$"},
        {"type": "string", "format": "date-time"},
        of_integer(minimum=0),
        of_integer(minimum=18),
        of_integer(minimum=-5, exclusiveMaximum=12),
        {"allOf": [{"type": "boolean"}], "description": "one of all"},
        CLOSED | {"properties": {"a": {"type": "integer", "minLength": 5}}},
    ],
)
def test_a_schema_that_it_holds_to_is_taken(schema: dict[str, Any]) -> None:
    assert to_schema(schema) is None


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (of_object(a={"type": "integer", "multipleOf": 7}), "multipleOf at #/properties/a"),
        ({"allOf": [of_object(a={}), of_object(b={})]}, "allOf with several"),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}, "minimum": 3}, "minimum beside $ref"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"multipleOf": 2, "type": "integer"}}},
            "multipleOf at #/$defs/a",
        ),
        ({"$ref": "#n", "$defs": {"n": {"$anchor": "n", "type": "integer"}}}, "$ref #n"),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}}, "$ref #/$defs/a~1b"),
        (of_object(a={}) | {"anyOf": [of_object(b={}), of_object(c={})]}, "properties beside anyOf"),
        ({"type": "integer", "enum": [1, "a"]}, "type beside enum"),
        ({"enum": ["aa", "baa", "bab"]}, "enum, of whose values it mixes some up"),
        ({"enum": ["1", "2", "12"]}, "enum, of whose values"),
        ({"anyOf": [{"const": "int"}, {"enum": ["integer", "float"]}, {"type": "null"}]}, "anyOf, of whose"),
        ({"minimum": 3}, "minimum without a type"),
        (of_integer(minimum=18, maximum=120), "maximum 120, minimum 18"),
        (of_integer(minimum=-1), "minimum -1"),
        (of_integer(minimum=5), "minimum 5"),
        (of_integer(minimum=1.5), "minimum 1.5"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "maximum 1, minimum 0"),
        ({"type": "string", "pattern": "^a+$", "maxLength": 3}, "maxLength beside pattern"),
        ({"type": "string", "pattern": "^.+$"}, "the pattern"),
        ({"type": "string", "pattern": "^[^a]$"}, "the pattern"),
        ({"type": "string", "pattern": "^[ -~]$"}, "the pattern"),
        ({"type": "string", "pattern": "^[가-힣]+$"}, "the pattern"),
        ({"type": "string", "format": "ipv4"}, "format ipv4"),
        ({"type": "array", "items": [{"type": "integer"}]}, "a list of items"),
        ({"type": "array", "prefixItems": [{}, {}], "maxItems": 1}, "fewer maxItems"),
        ({"type": "object", "required": ["z"]}, "required 'z'"),
        (of_object(**{'a"b': {}}), "the property"),
        (of_object(a={}) | {"patternProperties": {"^x": {}}}, "patternProperties beside properties"),
        ({"type": "object", "minProperties": 1}, "more minProperties"),
        ({"type": "object", "properties": {"a": False}}, "false at #/properties/a"),
    ],
)
def test_a_schema_that_it_would_pass_over_or_fail_at_is_named(schema: dict[str, Any], told: str) -> None:
    reason = to_schema(schema)
    assert reason is not None
    assert told in reason


@pytest.mark.parametrize(
    "expression", ["[a-z]{2,5}-[0-9]+", "^(yes|no)$", "[0-9]{4}년 [0-9]{1,2}월", "(?:a|b)*c?", r"[^x\n]+\.\d"]
)
def test_a_plain_regular_expression_is_taken(expression: str) -> None:
    assert objection(Grammar("regex", expression)) is None


@pytest.mark.parametrize(
    "expression", [".+", "a+?", "(?i)a", r"\p{L}+", "[가-힣]+", "^a$|^b$", "[[:alpha:]]"]
)
def test_a_regular_expression_that_it_reads_otherwise_is_refused(expression: str) -> None:
    assert "reads otherwise" in (objection(Grammar("regex", expression)) or "")


def test_a_choice_whose_texts_it_would_mix_up_is_refused() -> None:
    for mixed in (  # "ab" too, it says
        Grammar("ebnf_grammar", 'root ::= "x" y\ny ::= "aa" | "baa" | "bab"'),
        Grammar("regex", "x(aa|baa|bab)?"),
        Grammar("json_schema", '{"type": "string", "pattern": "^(?:aa|baa|bab)$"}'),
    ):
        assert "mixes" in (objection(mixed) or "")
    assert objection(Grammar("ebnf_grammar", 'root ::= "yes" | "no" | "b\\"a"')) is None


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ('root ::= "a" num # a [가] .\nnum ::= [0-9]{2} | "."', True),
        ('start: "a"', False),
        ("root ::= [가-힣]+", False),
        ("root ::= [\\uAC00-\\uD7A3]+", False),
        ('root ::= "a" .', False),
    ],
)
def test_gbnf_is_taken_where_it_reads_the_same(text: str, taken: bool) -> None:
    assert (objection(Grammar("ebnf_grammar", text)) is None) == taken


@pytest.mark.parametrize(
    "fields",
    [
        {"structured_outputs": {"choice": ["네", 'a "no"\n\\', "start: x", "[가] ."]}},
        {"response_format": {"type": "json_object"}},
        {
            "tools": [
                {"type": "function", "function": {"name": "a-1", "parameters": PERSON}},
                {"type": "function", "function": {"name": "b"}},
            ],
            "tool_choice": "required",
        },
    ],
)
def test_what_the_gateway_itself_asks_for_is_taken(fields: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    asked = answer_grammar(ChatCompletionRequest.model_validate_json(json.dumps(body)).query())
    assert asked is not None
    assert objection(asked) is None
