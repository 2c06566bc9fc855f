"""What xgrammar reads differently in a grammar that llguidance accepts.

TensorRT-LLM 1.2 pins xgrammar 0.1.25. It ignores some keywords of a schema without an error, and a grammar
that it cannot read ends every running answer. How it reads a schema: cpp/json_schema_converter.cc,
VisitSchema and the functions that it calls; a regular expression: cpp/regex_converter.cc.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Any

from slipway.contract.generation import Grammar
from slipway.gateway.grammars.ranges import BOUNDS, ends, is_one, low_is_exact

# Between minus and plus this, both bounds of an integer are enforced. Beyond, 18 to 120 also accepts 129.
_EXACT = 100
# The keywords that restrict a value of each type, among those that llguidance accepts.
_OF_TYPE: Mapping[str, frozenset[str]] = {
    "integer": BOUNDS | {"multipleOf"},
    "number": BOUNDS | {"multipleOf"},
    "string": frozenset({"pattern", "format", "minLength", "maxLength"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "object": frozenset({"properties", "patternProperties", "additionalProperties", "required"})
    | {"minProperties", "maxProperties"},
    "boolean": frozenset(),
    "null": frozenset(),
}
_RESTRICTING = frozenset[str]().union(*_OF_TYPE.values())
# xgrammar reads only the first of these that a schema has.
_ALONE = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")
_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "integer": int,
    "number": (int, float),
    "string": str,
    "array": list,
    "object": dict,
    "boolean": bool,
    "null": type(None),
}
_LARK = re.compile(r"^[ \t]*(%|start[ \t]*:)", re.MULTILINE)
# Of GBNF: strings, classes, comments, and the dot.
_GBNF = re.compile(r'"(?:\\.|[^"\\])*"?|(\[(?:\\.|[^\]\\])*\]?|\.)|#.*')
# Alternatives that are plain text, in GBNF and in a regular expression.
_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_CHOICE = re.compile(rf"{_STRING.pattern}(?:\s*\|\s*{_STRING.pattern})+")
_PARENTHESIS = re.compile(r"(?<!\\)[()]")
_PLACE = re.compile(r"#(/[^~%]*)?")
# What a regular expression may have: characters, escapes, classes, groups, alternatives, repetitions.
# xgrammar refuses or ignores modifiers of groups, lazy repetitions, Unicode classes and anchors in between.
# Its dot matches a line break too, and a class keeps only the last eight bits of characters beyond ASCII.
_REPEATED = r"(?:[*+?]|\{\d+(?:,\d*)?\})?(?![*+?{])"
_EITHER = rf"|\((?:\?:)?|\){_REPEATED}|\|"
_ANYWHERE = re.compile(
    r"(?:(?:\\[dDwWsSnrt^$.*+?\\()\[\]{}|/-]|\[\^?(?:[^\[\]\\^&~\u0080-\U0010ffff]|\\[dDwWsSnrt\\\]\[^-])+\]"
    rf"|[^\\^$.*+?()\[\]{{}}|]){_REPEATED}{_EITHER})*"
)
# In a JSON string it does not escape quotes, backslashes and line breaks.
_IN_STRING = re.compile(
    r"(?:(?:\\[dw^$.*+?()\[\]{}|/-]|\[(?:[^\[\]\\^&~\"\x00-\x1f\u0080-\U0010ffff]|\\[dw\]\[^-])+\]"
    rf"|[^\\^$.*+?()\[\]{{}}|\"\x00-\x1f]){_REPEATED}{_EITHER})*"
)
_CLASS, _RANGE = re.compile(r"\[[^\]]*"), re.compile(r"(.)-(.)")


def objection(grammar: Grammar) -> str | None:
    """What xgrammar would read differently, and where; None where it reads all the same.

    grammar: one that llguidance accepts, so a schema is well-formed wherever it is read.
    """
    match grammar.kind:
        case "json_schema":
            found = next(_of_document(json.loads(grammar.text)), None)
            return found and f"TensorRT-LLM's xgrammar does not hold to {found}"
        case "regex":
            found = _of_regex(grammar.text, _ANYWHERE)
            return found and f"TensorRT-LLM's xgrammar reads otherwise: {found}"
        case "ebnf_grammar":
            if _LARK.search(grammar.text):
                return "TensorRT-LLM's xgrammar reads GBNF, and this is Lark"
            for choice in _CHOICE.finditer(grammar.text):
                if _mixes(each[1:-1] for each in _STRING.findall(choice[0])):
                    return f"TensorRT-LLM's xgrammar mixes these up: {choice[0]}"
            odd = (each[1] for each in _GBNF.finditer(grammar.text))
            found = next((each for each in odd if each and not _is_plain(each)), None)
            return found and f"TensorRT-LLM's xgrammar reads otherwise: {found}"


def _is_plain(symbol: str) -> bool:
    return symbol != "." and symbol.isascii() and not re.search(r"\\[uU]", symbol)


def _of_regex(text: str, form: re.Pattern[str]) -> str | None:
    """The part that xgrammar does not read as Rust does; None where there is none."""
    bare = text.removeprefix("^").removesuffix("$")  # it binds to both ends anyway
    read = form.match(bare)
    assert read is not None, "it matches nothing at least"
    if read.end() < len(bare):
        return f"{bare[read.end() :]!r} in {text!r}"
    groups = _PARENTHESIS.split(bare)
    mixed = next((group for group in groups if _mixes(group.removeprefix("?:").split("|"))), None)
    return mixed and f"the alternatives {mixed!r}, which it mixes up"


def _of_document(root: dict[str, Any]) -> Iterator[str]:
    waiting: list[tuple[Any, str]] = [(root, "#")]
    seen: set[str] = set()
    while waiting:
        schema, place = waiting.pop()
        if place not in seen and isinstance(schema, dict):
            yield from (f"{keyword} at {place}" for keyword in _of_keywords(schema))
            if "$ref" in schema:
                target = _target(root, schema["$ref"])
                if target is None:
                    yield f"$ref {schema['$ref']} at {place}"
                waiting.append((target, schema["$ref"]))
            waiting += [(inner, f"{place}/{at}") for at, inner in _parts(schema)]
        elif schema is False:
            yield f"false at {place}"
        seen.add(place)


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in ("properties", "patternProperties"):
        yield from ((f"{keyword}/{name}", inner) for name, inner in schema.get(keyword, {}).items())
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        yield from ((f"{keyword}/{number}", inner) for number, inner in enumerate(schema.get(keyword, ())))
    for keyword in ("items", "additionalProperties"):
        if schema.get(keyword) is not False:
            yield keyword, schema.get(keyword)


def _target(root: Mapping[str, Any], reference: str) -> Any:
    """What xgrammar finds at a reference, without escapes and places in lists; None for nothing."""
    found: Any = root if _PLACE.fullmatch(reference) else None
    for name in filter(None, reference.removeprefix("#").split("/")):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _of_keywords(schema: Mapping[str, Any]) -> Iterator[str]:
    alone = next((keyword for keyword in _ALONE if keyword in schema), None)
    given = schema.get("type", [])
    types: list[str] = given if isinstance(given, list) else [given]
    if alone is not None:
        others = (_RESTRICTING | {"type", *_ALONE}) & schema.keys() - {alone}
        if alone in ("const", "enum") and all(_is_one(value, types) for value in _values(schema)):
            others -= {"type"}
        yield from (f"{other} beside {alone}" for other in sorted(others))
        if _mixes(_literals(schema)):
            yield f"{alone}, of whose values it mixes some up"
        if alone == "allOf" and len(schema["allOf"]) > 1:
            yield "allOf with several schemas"
        return
    read = types or _implied(schema)
    relevant = [_OF_TYPE.get(each, frozenset()) for each in read] or [_RESTRICTING]
    yield from _of_type(schema, read, frozenset().union(*relevant) & schema.keys())


def _of_type(schema: Mapping[str, Any], types: list[str], given: frozenset[str]) -> Iterator[str]:
    """given: the keywords of `schema` that restrict values of these types. types: empty for any type."""
    if not types:
        yield from (f"{keyword} without a type" for keyword in sorted(given))
    if "multipleOf" in given:
        yield "multipleOf"
    bounds = {keyword: schema[keyword] for keyword in sorted(given & BOUNDS)}
    if bounds and ("number" in types or not _exact(bounds)):
        yield ", ".join(f"{keyword} {value}" for keyword, value in bounds.items())
    yield from _of_string(schema, given & _OF_TYPE["string"])
    if "array" in types:
        yield from _of_array(schema)
    if "object" in types:
        yield from _of_object(schema)


def _exact(bounds: Mapping[str, float]) -> bool:
    """Whether xgrammar enforces these bounds of an integer."""
    if any(value != int(value) for value in bounds.values()):
        return False
    low, high = ends(bounds)
    if high is None:
        return low is None or low_is_exact(low)
    if low is None:
        return 0 <= high <= _EXACT
    return is_one(low, high) or -_EXACT <= low <= _EXACT >= high >= -_EXACT


def _of_array(schema: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(schema.get("items"), list):
        yield "a list of items"
    if schema.get("minItems", 0) > schema.get("maxItems", inf):
        yield "more minItems than maxItems"
    first = len(schema.get("prefixItems", ()))
    if schema.get("maxItems", first) < first:
        yield "fewer maxItems than prefixItems"
    if "prefixItems" in schema and not schema.get("items") and schema.get("minItems", 0) > first:
        yield "more minItems than prefixItems"


def _of_object(schema: Mapping[str, Any]) -> Iterator[str]:
    properties = schema.get("properties", {})
    if "patternProperties" in schema:
        if properties:
            yield "patternProperties beside properties"
        if schema.get("additionalProperties"):
            yield "patternProperties beside additionalProperties"
    for name in sorted(set(schema.get("required", ())) - properties.keys()):
        yield f"required {name!r}, which is not among the properties,"
    if schema.get("minProperties", 0) > schema.get("maxProperties", inf):
        yield "more minProperties than maxProperties"
    if schema.get("minProperties", 0) > max(1, len(schema.get("required", ()))) and (
        schema.keys() & {"additionalProperties", "patternProperties"}
    ):
        yield "minProperties, for which it counts a name that comes twice,"
    if schema.get("minProperties", 0) > len(properties) and not schema.get("additionalProperties"):
        yield "more minProperties than properties"
    if schema.get("maxProperties", len(properties)) < len(schema.get("required", ())):
        yield "fewer maxProperties than required"
    for name in properties:
        if json.dumps(name, ensure_ascii=False) != f'"{name}"':
            yield f"the property {name!r}"
    for pattern in schema.get("patternProperties", {}):
        if odd := _of_pattern(pattern):
            yield f"the pattern {odd}"


def _of_string(schema: Mapping[str, Any], given: frozenset[str]) -> Iterator[str]:
    for first in ("format", "pattern"):
        if first in given:
            yield from (f"{other} beside {first}" for other in sorted(given - {first}))
            break
    if schema.get("format") == "ipv4":
        yield "format ipv4"
    if "pattern" in given and (odd := _of_pattern(schema["pattern"])):
        yield f"the pattern {odd}"


def _literals(schema: Mapping[str, Any]) -> Iterator[str]:
    """The values that a schema lists, by itself or in alternatives, as xgrammar writes them."""
    if "const" in schema or "enum" in schema:
        for value in _values(schema):
            yield json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if isinstance(inner, dict):
            yield from _literals({"const": None} if inner.get("type") == "null" else inner)


def _mixes(texts: Iterable[str]) -> bool:
    """Whether xgrammar may accept the beginning of one of these texts with the end of another.

    Its automaton merges states from the front, where two texts begin alike, and from the back, where two end
    alike, one character further in each round. Both meet in the middle of a text, where it merges states that
    differ (mlc-ai/xgrammar#618, fixed in 0.2.1).
    """
    words = {text.encode() for text in texts}
    for length in {len(word) for word in words if len(word) > 1 and len(word) % 2}:
        met = (length + 1) // 2
        heads = Counter(word[:met] for word in words)
        ended: dict[bytes, set[tuple[int, bytes]]] = defaultdict(set)
        for word in words:
            ended[word[1 - met :]].add((len(word), word[:met]))
        alike = (word for word in words if len(word) == length and heads[word[:met]] > 1)
        if any(len(ended[word[met:]]) > 1 for word in alike):
            return True
    return False


def _implied(schema: Mapping[str, Any]) -> list[str]:
    """The type that xgrammar assumes for a schema without one."""
    if schema.keys() & {"properties", "additionalProperties"}:
        return ["object"]
    return ["array"] if schema.keys() & {"items", "prefixItems"} else []


def _values(schema: Mapping[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else schema["enum"]


def _is_one(value: Any, types: list[str]) -> bool:
    """Whether `value` is of one of `types`; empty for any type."""
    if isinstance(value, bool):
        return not types or "boolean" in types
    return not types or any(isinstance(value, _TYPES[each]) for each in types if each in _TYPES)


def _of_pattern(pattern: str) -> str | None:
    ranges = [each for found in _CLASS.findall(pattern) for each in _RANGE.findall(found)]
    if any(low <= char <= high for low, high in ranges for char in '"\\'):
        return f"{pattern!r}, which has a range with quotes or backslashes,"
    return _of_regex(pattern, _IN_STRING)
