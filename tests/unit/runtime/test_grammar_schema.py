"""Numbers of a JSON schema as llguidance holds to them: exact, or refused by their place."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLTokenizer

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar
from slipway.runtime.grammar.matcher import compiled
from slipway.runtime.grammar.schema import held_to

BYTES = LLTokenizer("byte")
KEPT, LARGEST = 2**53, 2**63 - 1


def accepts(schema: dict[str, Any], text: str) -> bool:
    matcher = compiled(Grammar("json_schema", json.dumps(schema)), BYTES)
    return bool(matcher.consume_tokens(list(text.encode())) and matcher.is_accepting())


def allowed(schema: dict[str, Any], numbers: list[int]) -> list[int]:
    return [number for number in numbers if accepts(schema, str(number))]


@pytest.mark.parametrize(
    ("schema", "numbers", "within"),
    [
        ({"maximum": LARGEST}, [LARGEST, LARGEST + 1, 5], [LARGEST, 5]),
        ({"exclusiveMaximum": LARGEST + 1}, [LARGEST, LARGEST + 1, 5], [LARGEST, 5]),
        ({"exclusiveMaximum": KEPT}, [KEPT - 1, KEPT], [KEPT - 1]),
        ({"minimum": KEPT + 2}, [KEPT + 1, KEPT + 2, KEPT + 3], [KEPT + 2, KEPT + 3]),
        ({"maximum": 1e18}, [10**18, 10**18 + 1], [10**18]),
        ({"minimum": 0.5, "exclusiveMaximum": 2.5}, [0, 1, 2, 3], [1, 2]),
        ({"multipleOf": 1.5}, [1, 3, 4], [3]),
    ],
)
def test_bounds_of_integers_are_exact(schema: dict[str, Any], numbers: list[int], within: list[int]) -> None:
    assert allowed({"type": "integer", **schema}, numbers) == within


@settings(max_examples=60, deadline=None)
@given(st.integers(-LARGEST - 9, LARGEST + 9) | st.integers(KEPT - 9, KEPT + 9))
def test_a_constant_is_written_as_it_is_or_refused(number: int) -> None:
    schema = {"properties": {"id": {"enum": [{"a": [number]}]}}, "required": ["id"]}
    if abs(number) <= KEPT or number == LARGEST or (abs(number) < LARGEST and float(number) == number):
        assert accepts(schema, f'{{"id": {{"a": [{number}]}}}}')
        return
    with pytest.raises(InvalidRequest, match=f"enum at #/properties/id is {number}"):
        accepts(schema, "")


@settings(max_examples=80, deadline=None)
@given(
    st.integers(-5000, 5000).map(lambda number: number / 1000),
    st.sampled_from([0.1, 0.01, 1, 3, 0.25, 0.5, 0.05, 2.5]),
    st.integers(-40, 40),
)
def test_multiples_within_decimal_bounds_are_all_allowed(high: float, step: float, count: int) -> None:
    number = Decimal(str(step)) * count
    text = f"{number.normalize():f}" if number else "0"
    schema = {"type": "number", "minimum": -8.3, "maximum": high, "multipleOf": step}
    assert accepts(schema, text) == (Decimal("-8.3") <= number <= Decimal(str(high)))


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"const": KEPT + 1}, "const at # is 9007199254740993"),
        ({"type": "integer", "maximum": LARGEST * 2}, "maximum at # is"),
        ({"type": "integer", "maximum": 1e400}, "maximum at # is"),
        ({"const": {"type": "integer", "maximum": 1e400}}, "cannot be used"),
        ({"type": "integer", "exclusiveMaximum": 10**18}, "exclusiveMaximum at # is 1000000000000000000,"),
        ({"type": "number", "minimum": KEPT + 2}, "minimum at #"),
        ({"type": "number", "minimum": 0, "multipleOf": 0.25}, "multipleOf at # is 0.25"),
        ({"type": "number", "minimum": 10**15 + 0.5}, "minimum at #"),
        ({"anyOf": [{}, {"items": {"maximum": 2**60}}]}, "maximum at #/anyOf/1/items"),
        ({"$defs": {"a": {"enum": [1, 2**64]}}, "$ref": "#/$defs/a"}, "enum at #/$defs/a"),
    ],
)
def test_a_number_that_would_change_is_refused_with_its_place(schema: dict[str, Any], told: str) -> None:
    text = json.dumps(schema).replace("Infinity", "1e999999999")
    with pytest.raises(InvalidRequest) as caught:
        compiled(Grammar("json_schema", text), BYTES)
    assert told in str(caught.value)


@pytest.mark.parametrize("word", ["path", "binary", "password", "int64", "uri-reference", "regex"])
def test_an_unknown_format_is_an_annotation(word: str) -> None:
    assert accepts({"type": "string", "format": word}, '"a b"')
    assert accepts({"properties": {"format": {"const": word}}}, f'{{"format":"{word}"}}')


def test_a_known_format_is_held_to() -> None:
    assert not accepts({"type": "string", "format": "date"}, '"a"')
    assert json.loads(held_to('{"format": "uuid"}')) == {"format": "uuid"}
