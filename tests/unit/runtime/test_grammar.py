"""Random walks through what grammars allow, with a tokenizer of bytes and some words."""

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLTokenizer
from tokenizers import decoders, models, pre_tokenizers

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Grammar
from slipway.runtime.grammar.matcher import Masks, Matcher, compiled, load_tokenizer
from slipway.text.parts import CallArguments, CallStart, merged
from slipway.text.tool_calls.enforced import EnforcedParser, schema

WORDS = ['{"', '":', '": "', '", "', "true", "},", "]}", "12", "   ", "\n  ", "년", "name"]
EOS = 0
# More columns of logits than tokens, as in engines whose vocabulary is padded.
VOCAB_SIZE = 320

names = st.text("abcdé한", min_size=1, max_size=4)
scalars = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
              st.integers(-500, 500), st.integers(0, 500)),
    st.builds(lambda low, size: {"type": "string", "minLength": low, "maxLength": low + size},
              st.integers(0, 3), st.integers(0, 5)),
    st.builds(lambda values: {"enum": values},
              st.lists(names | st.integers(-9, 9) | st.booleans(), min_size=1, max_size=4)),
    st.just({"type": "string", "pattern": "^[a-c]{2}(-[0-9]{1,3})?$"}),
)  # fmt: skip
schemas = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(lambda items, most: {"type": "array", "items": items, "maxItems": most},
                  inner, st.integers(0, 3)),
        st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda parts, required: {"type": "object", "properties": parts,
                                           "required": sorted(parts)[:required],
                                           "additionalProperties": False},
                  st.dictionaries(names, inner, max_size=4), st.integers(0, 4)),
    ),
    max_leaves=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    encode = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = ["".join(piece for piece, _ in encode.pre_tokenize_str(word)) for word in WORDS]
    vocabulary = {token: number for number, token in enumerate(["<end>", *alphabet, *words])}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = encode
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> LLTokenizer:
    return load_tokenizer(directory, VOCAB_SIZE, [EOS])


@pytest.fixture(scope="module")
def masks() -> Masks:
    return Masks(VOCAB_SIZE, [EOS])


def walk(grammar: Grammar, tokenizer: LLTokenizer, masks: Masks, seed: int) -> str:
    """Tokens drawn from all that are allowed, until nothing can follow or end-of-sequence is drawn."""
    matcher = Matcher(grammar, compiled(grammar, tokenizer), masks)
    random = np.random.default_rng(seed)
    tokens: list[int] = []
    while not matcher.ended and len(tokens) < 2000:
        if random.random() < 0.5:
            masks.compute_ahead([matcher])
        masked = matcher.masked(random.random(VOCAB_SIZE, dtype=np.float32), {EOS})
        token = int(masked.argmax())
        if token == EOS:
            break
        tokens.append(token)
        matcher.advance(token)
    return tokenizer.decode_bytes(tokens).decode()


@settings(max_examples=60)
@given(schemas, st.integers(0, 1000))
def test_whatever_is_drawn_of_what_a_schema_allows_is_valid_under_it(
    tokenizer: LLTokenizer, masks: Masks, schema: dict[str, object], seed: int
) -> None:
    document = walk(Grammar("json_schema", json.dumps(schema)), tokenizer, masks, seed)
    jsonschema.validate(json.loads(document), schema)


@pytest.mark.parametrize(
    "expression", ["[a-z]{2,5}-[0-9]+", "(yes|no)", "[0-9]{4}년 [0-9]{1,2}월", "(a|b)*c?"]
)
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_whatever_is_drawn_of_what_a_regular_expression_allows_matches_it(
    tokenizer: LLTokenizer, masks: Masks, expression: str, seed: int
) -> None:
    assert re.fullmatch(expression, walk(Grammar("regex", expression), tokenizer, masks, seed))


@pytest.mark.parametrize("text", ['root ::= "a" num\nnum ::= [0-9]{2}', 'start: "a" NUM\nNUM: /[0-9]{2}/'])
def test_a_grammar_may_be_written_as_gbnf_or_as_lark(tokenizer: LLTokenizer, masks: Masks, text: str) -> None:
    assert re.fullmatch("a[0-9]{2}", walk(Grammar("ebnf_grammar", text), tokenizer, masks, 1))


def test_end_of_sequence_is_allowed_where_the_match_is_complete_and_nowhere_else(
    tokenizer: LLTokenizer, masks: Masks
) -> None:
    matcher = Matcher(grammar := Grammar("regex", "ab?"), compiled(grammar, tokenizer), masks)
    flat = np.zeros(VOCAB_SIZE, np.float32)
    a, b = tokenizer.tokenize_str("ab")
    assert np.flatnonzero(matcher.masked(flat, {EOS}) == 0).tolist() == [a]
    matcher.advance(a)
    other = matcher.copy()
    assert np.flatnonzero(matcher.masked(flat, {EOS}) == 0).tolist() == sorted([EOS, b])
    assert np.flatnonzero(other.masked(flat, {9, 11}) == 0).tolist() == sorted([9, 11, b]), "its own ends"
    assert not matcher.ended
    matcher.advance(b)
    assert matcher.ended
    assert not other.ended


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (Grammar("json_schema", '{"type": "strin"}'), "Invalid type: strin"),
        (Grammar("json_schema", '{"type": '), "EOF while parsing"),
        (Grammar("json_schema", '{"not": {"type": "string"}}'), 'Unimplemented keys: ["not"]'),
        (Grammar("json_schema", '{"$ref": "http://127.0.0.1/x"}'), "not present in a registry"),
        (Grammar("regex", "(a|b"), "unclosed group"),
        (Grammar("regex", "(?=a)b"), "look-around"),
        (Grammar("ebnf_grammar", "start: unknown"), "unknown"),
        (Grammar("ebnf_grammar", 'root ::= ("a"'), "GBNF"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_the_reason(
    tokenizer: LLTokenizer, grammar: Grammar, reason: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        compiled(grammar, tokenizer)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.param == "grammar"


def test_a_grammar_that_grows_too_complex_in_an_answer_is_an_error_of_that_answer(
    tokenizer: LLTokenizer, masks: Masks
) -> None:
    schema = {
        "properties": {f"p{number}": {"type": "boolean"} for number in range(800)},
        "required": ["p799"],
    }
    with pytest.raises(InvalidRequest, match=r"Current row has .* simplify"):
        walk(Grammar("json_schema", json.dumps({"type": "object", **schema})), tokenizer, masks, 1)


TREE = {
    "type": "object",
    "properties": {"root": {"$ref": "#/$defs/node"}},
    "required": ["root"],
    "additionalProperties": False,
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "mark": {"type": "boolean"},
                "inner": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1},
            },
            "required": ["mark"],
            "additionalProperties": False,
        }
    },
}
TOOLS = [
    {"type": "function", "function": {"name": "plant", "parameters": TREE}},
    {"type": "function", "function": {"name": "ping"}},
    {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}}}},
]


@pytest.mark.parametrize(("choice", "parallel"), [(None, False), (None, True), ("plant", False)])
@given(seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_enforced_calls_are_calls_of_the_tools_with_valid_arguments(
    tokenizer: LLTokenizer, masks: Masks, choice: str | None, parallel: bool, seed: int
) -> None:
    enforced_schema = schema(TOOLS, choice, parallel)
    answer = walk(Grammar("json_schema", json.dumps(enforced_schema)), tokenizer, masks, seed)
    jsonschema.validate(json.loads(answer), enforced_schema)
    reader = EnforcedParser([choice] if choice else ["plant", "ping", "stop"])
    parts = merged([*reader.push(answer), *reader.flush()])
    starts = [part for part in parts if isinstance(part, CallStart)]
    told = [part for part in parts if isinstance(part, CallArguments)]
    assert len(starts) == len(told) == len(parts) / 2
    assert parallel or len(starts) == 1
    for call, arguments in zip(starts, told, strict=True):
        assert choice in (None, call.name)
        jsonschema.validate(
            json.loads(arguments.text), TREE if call.name == "plant" else {"maxProperties": 0}
        )
