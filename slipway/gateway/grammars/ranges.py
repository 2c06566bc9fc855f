"""Integer ranges of a JSON schema, split so that xgrammar enforces them.

xgrammar 0.1.25 widens some integer ranges: 18 to 120 also accepts 121 to 129. Ranges in which only one digit
is bounded are exact, such as 10 to 99, 100 to 119 and 120. This was compared with xgrammar for bounds up to a
thousand; beyond that, it widens split ranges too.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from slipway.contract.generation import Grammar

_LARGEST = 1000
BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
# Beside these keywords xgrammar ignores bounds.
_OTHERS = frozenset({"multipleOf", "const", "enum", "anyOf", "oneOf", "allOf", "$ref"})
_OF_NAMES = ("properties", "patternProperties", "$defs", "definitions")
_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA = ("items", "additionalProperties")
# From here on a lower bound without an upper bound is exact.
_FREE = 10


def split_ranges(grammar: Grammar) -> Grammar:
    """The same grammar; in a JSON schema, integer ranges are split into alternatives."""
    if grammar.kind != "json_schema":
        return grammar
    return replace(grammar, text=json.dumps(_schema(json.loads(grammar.text)), ensure_ascii=False))


def ends(bounds: Mapping[str, float]) -> tuple[int | None, int | None]:
    """The least and the largest integer that these bounds of a schema allow; None without a bound."""
    lows = [math.ceil(bounds["minimum"])] if "minimum" in bounds else []
    lows += [math.floor(bounds["exclusiveMinimum"]) + 1] if "exclusiveMinimum" in bounds else []
    highs = [math.floor(bounds["maximum"])] if "maximum" in bounds else []
    highs += [math.ceil(bounds["exclusiveMaximum"]) - 1] if "exclusiveMaximum" in bounds else []
    return max(lows, default=None), min(highs, default=None)


def is_one(low: int, high: int) -> bool:
    """Whether xgrammar enforces this range without a split."""
    return -_LARGEST <= low <= high <= _LARGEST and len(list(_ranges(low, high))) == 1


def low_is_exact(low: int) -> bool:
    """Whether xgrammar enforces this lower bound without an upper bound."""
    return low >= _FREE or low in (0, 1)


def _schema(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for keyword in made.keys() & {*_OF_NAMES}:
        if isinstance(made[keyword], dict):
            made[keyword] = {name: _schema(inner) for name, inner in made[keyword].items()}
    for keyword in made.keys() & {*_OF_SCHEMAS}:
        if isinstance(made[keyword], list):
            made[keyword] = [_schema(inner) for inner in made[keyword]]
    for keyword in made.keys() & {*_SCHEMA}:
        made[keyword] = _schema(made[keyword])
    if made.get("type") != "integer" or made.keys() & _OTHERS or not made.keys() & BOUNDS:
        return made
    alternatives = _alternatives({name: made[name] for name in made.keys() & BOUNDS})
    if len(alternatives) < 2:
        return made
    kept = {name: value for name, value in made.items() if name not in BOUNDS and name != "type"}
    return {**kept, "anyOf": alternatives}


def _alternatives(bounds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Empty where no split is needed, or none is known to be right."""
    low, high = ends(bounds)
    if low is None or low < -_LARGEST:
        return []
    if high is None:
        if low_is_exact(low):
            return []
        start = 0 if low < 0 else _FREE
        return [*_ranges(low, start - 1), {"type": "integer", "minimum": start}]
    return list(_ranges(low, high)) if low <= high <= _LARGEST else []


def _ranges(low: int, high: int) -> Iterator[dict[str, Any]]:
    below = [(-last, -first) for first, last in _of_naturals(max(1, -high), -low)]
    for first, last in [*below, *_of_naturals(max(0, low), high)]:
        yield {"const": first} if first == last else {"type": "integer", "minimum": first, "maximum": last}


def _of_naturals(low: int, high: int) -> Iterator[tuple[int, int]]:
    """Ranges that make up `low` to `high`. In each, one digit has bounds, and the digits after it none."""
    while low <= high:
        size = 1
        while low % (10 * size) == 0 and 10 * size <= low and low + 10 * size - 1 <= high:
            size *= 10
        last = low + size - 1
        while (last + 1) // size % 10 and last + size <= high:
            last += size
        yield low, last
        low = last + 1
