"""JSON schemas as llguidance holds to them.

llguidance reads numbers as 64-bit floats and bounds of integers as 64-bit integers. Numbers between them are
written here so that both agree, or refused. An unknown `format` is an annotation in JSON Schema, and an error
in llguidance, so it is left out.
"""

import json
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation, localcontext
from typing import Any

# The formats that llguidance enforces.
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname"}) | frozenset(
    {"ipv4", "ipv6", "uuid", "uri", "unknown"}
)
_LARGEST = 2**63 - 1
# Up to here floats hold every integer, and llguidance reads every digit of a decimal fraction.
_EXACT = 2**53
_DIGITS = 15
_SMALLEST_STEP = Decimal("1e-9")
_MAX_MULTIPLES = 1000
_OF_NAMES = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")
_SCHEMA = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else")
_LOWS, _HIGHS = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")


def held_to(text: str) -> str:
    """The same schema, as JSON, in a form that llguidance holds to.

    Raises ValueError with the number and its place where there is no such form.
    """
    try:
        schema = json.loads(text, parse_float=_decimal)
    except json.JSONDecodeError:
        return text  # llguidance says where it is wrong
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return json.dumps(_schema(schema, "#"), default=float, ensure_ascii=False)


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise ValueError(f"{digits[:40]} is too large for a number") from None


def _schema(schema: Any, place: str) -> Any:
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for keyword in made.keys() & {*_OF_NAMES}:
        if isinstance(made[keyword], dict):
            made[keyword] = {
                name: _schema(inner, f"{place}/{keyword}/{name}") for name, inner in made[keyword].items()
            }
    for keyword in made.keys() & {*_OF_SCHEMAS}:
        if isinstance(made[keyword], list):
            made[keyword] = [
                _schema(inner, f"{place}/{keyword}/{at}") for at, inner in enumerate(made[keyword])
            ]
    for keyword in made.keys() & {*_SCHEMA}:
        made[keyword] = _schema(made[keyword], f"{place}/{keyword}")
    if isinstance(made.get("format"), str) and made["format"] not in FORMATS:
        del made["format"]
    for keyword in ("const", "enum"):
        for number in _integers(made.get(keyword)):
            if not _is_kept(number):
                raise _too_large(keyword, number, place)
    return _with_bounds(made, place)


def _integers(value: Any) -> Iterator[int]:
    match value:
        case bool():
            return
        case int():
            yield value
        case list():
            for inner in value:
                yield from _integers(inner)
        case dict():
            for inner in value.values():
                yield from _integers(inner)


def _is_kept(number: int) -> bool:
    """Whether llguidance reads this integer, and not a neighbor."""
    return number == _LARGEST or (-_LARGEST <= number <= _LARGEST and number == int(float(number)))


def _with_bounds(schema: dict[str, Any], place: str) -> dict[str, Any]:
    bounds = {keyword: schema[keyword] for keyword in (*_LOWS, *_HIGHS) if _is_number(schema.get(keyword))}
    if not bounds:
        return schema
    for keyword, value in bounds.items():
        if not -_LARGEST <= value <= _LARGEST + 1:
            raise _too_large(keyword, value, place)
    kinds = schema.get("type")
    kinds = set(kinds) if isinstance(kinds, list) else {kinds}
    if "integer" in kinds and "number" not in kinds:
        made, written = _of_integer(bounds), {}
        for keyword, value in made.items():
            if not _is_kept(value):
                raise _too_large(*_source(bounds, keyword), place)
            written[keyword] = value
    else:
        for keyword, value in bounds.items():
            digits = len(Decimal(value).normalize().as_tuple().digits)
            if abs(value) > _EXACT or (digits > _DIGITS and value != int(value)):
                raise _too_large(keyword, value, place)
        written = _of_multiples(bounds, schema.get("multipleOf"), place)
    replaced = bounds.keys() | ({"multipleOf"} if "enum" in written else set())
    if "enum" in written and schema.keys() & {"enum", "const"}:
        return schema  # it lists its values itself
    return {keyword: value for keyword, value in schema.items() if keyword not in replaced} | written


def _of_integer(bounds: Mapping[str, Any]) -> dict[str, int]:
    """The least and the largest integer within the bounds."""
    lows = [_ceil(bounds["minimum"])] if "minimum" in bounds else []
    lows += [_floor(bounds["exclusiveMinimum"]) + 1] if "exclusiveMinimum" in bounds else []
    highs = [_floor(bounds["maximum"])] if "maximum" in bounds else []
    highs += [_ceil(bounds["exclusiveMaximum"]) - 1] if "exclusiveMaximum" in bounds else []
    made = {"minimum": max(lows)} if lows else {}
    return made | ({"maximum": min(highs)} if highs else {})


def _of_multiples(bounds: Mapping[str, Any], step: Any, place: str) -> dict[str, Any]:
    """The multiples of `step` within the bounds: their least and largest, or all; without a step, the bounds.

    llguidance writes a multiple with as many digits as its step, and a bound forbids some of these. It
    does not where a step is whole or a power of ten.
    """
    if not _is_number(step) or not _SMALLEST_STEP <= step <= _EXACT:
        return dict(bounds)
    with localcontext() as context:
        context.prec = 60
        unit = Decimal(step)
        counts = _of_integer({keyword: Decimal(value) / unit for keyword, value in bounds.items()})
        if unit == int(unit) or unit.normalize().as_tuple().digits == (1,):
            return {keyword: Decimal(count) * unit for keyword, count in counts.items()}
        if len(counts) < 2 or counts["maximum"] - counts["minimum"] >= _MAX_MULTIPLES:
            raise ValueError(
                f"multipleOf at {place} is {step}, which grammars hold to without bounds, or between two "
                f"with at most {_MAX_MULTIPLES} multiples"
            )
        return {"enum": [Decimal(each) * unit for each in range(counts["minimum"], counts["maximum"] + 1)]}


def _ceil(value: Any) -> int:
    return int(Decimal(value).to_integral_value(ROUND_CEILING))


def _floor(value: Any) -> int:
    return int(Decimal(value).to_integral_value(ROUND_FLOOR))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _source(bounds: Mapping[str, Any], keyword: str) -> tuple[str, Any]:
    """The client's keyword and number behind a bound that was made of them."""
    given = [each for each in (_LOWS if keyword == "minimum" else _HIGHS) if each in bounds]
    return given[-1], bounds[given[-1]]


def _too_large(keyword: str, value: Any, place: str) -> ValueError:
    return ValueError(
        f"{keyword} at {place} is {str(value)[:40]}, and grammars hold to numbers up to {_EXACT} "
        f"and {_DIGITS} digits"
    )
