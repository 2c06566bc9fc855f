"""Integers between bounds as alternatives that xgrammar holds to: the same numbers, and no others."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.contract.generation import Grammar
from slipway.gateway.grammars.ranges import split_ranges
from slipway.gateway.grammars.xgrammar import objection


def spelled(schema: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(split_ranges(Grammar("json_schema", json.dumps(schema))).text)
    return made


@settings(max_examples=200)
@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.booleans())
def test_a_range_up_to_a_thousand_is_accepted_and_means_the_same(
    low: int, high: int, open_ends: bool
) -> None:
    low, high = sorted((low, high))
    bounds = {"exclusiveMinimum": low - 1, "exclusiveMaximum": high + 1}
    schema = {"type": "integer", **(bounds if open_ends else {"minimum": low, "maximum": high})}
    written = spelled(schema)
    assert objection(Grammar("json_schema", json.dumps(written))) is None
    validator = jsonschema.Draft202012Validator(written)
    near = {end + step for end in (low, high, 0, 10 * high) for step in range(-12, 13)}
    assert {number for number in near if validator.is_valid(number)} == near & set(range(low, high + 1))


@pytest.mark.parametrize("low", [-1000, -12, -1, 0, 1, 2, 5, 9, 10, 18])
def test_a_lower_bound_alone_means_the_same(low: int) -> None:
    written = spelled({"type": "integer", "minimum": low})
    assert objection(Grammar("json_schema", json.dumps(written))) is None
    validator = jsonschema.Draft202012Validator(written)
    assert all(validator.is_valid(number) == (number >= low) for number in range(low - 50, low + 200))


def test_only_what_bounds_an_integer_changes_wherever_it_is() -> None:
    age = {"type": "integer", "minimum": 18, "maximum": 120, "title": "Age"}
    schema = {
        "type": "object",
        "properties": {"age": {"$ref": "#/$defs/age"}, "type": {"const": age}, "size": {"type": "number"}},
        "$defs": {"age": age, "even": {"type": "integer", "minimum": 18, "maximum": 120, "multipleOf": 2}},
        "items": {"anyOf": [age, {"type": "null"}]},
    }
    written = spelled(schema)
    alternatives = written["$defs"]["age"].pop("anyOf")
    assert written["$defs"]["age"] == {"title": "Age"}
    assert alternatives == [
        {"type": "integer", "minimum": 18, "maximum": 19},
        {"type": "integer", "minimum": 20, "maximum": 99},
        {"type": "integer", "minimum": 100, "maximum": 119},
        {"const": 120},
    ]
    assert written["items"]["anyOf"][0]["anyOf"] == alternatives
    assert written["properties"] == schema["properties"]
    assert written["$defs"]["even"] == schema["$defs"]["even"]


def test_what_is_no_schema_and_what_is_too_large_stays() -> None:
    assert split_ranges(Grammar("regex", "[0-9]+")) == Grammar("regex", "[0-9]+")
    large = {"type": "integer", "minimum": 0, "maximum": 5000}
    assert spelled(large) == large
