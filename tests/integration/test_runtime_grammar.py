"""Answers that follow grammars, in the engine with the real model and with neighbours that follow none."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import jsonschema
import psutil
import pytest
from support.answers import Answer
from support.waiting import wait_until

from slipway.contract.errors import EngineFailed, InvalidRequest
from slipway.contract.generation import Delta, Grammar, SamplingParams
from slipway.runtime.engine import Engine
from slipway.runtime.isolated.process import PATIENCE_S
from slipway.text.tokenizer import Tokenizer

SHORT = {"type": "string", "maxLength": 12}
INTEGER = {"type": "integer", "minimum": 0, "maximum": 999}


def strict(**properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMAS = (
    strict(name=SHORT, age=INTEGER),
    {"type": "array", "items": INTEGER, "minItems": 3, "maxItems": 5},
    {"enum": ["Paris", "London", 7, None]},
    strict(shape={"enum": ["circle", "square"]}, at=strict(x=INTEGER, y=INTEGER), filled={"type": "boolean"}),
    {"anyOf": [strict(error=SHORT), strict(value={"type": "number", "minimum": 0, "maximum": 1})]},
    {
        "type": "array",
        "items": strict(city={"type": "string", "pattern": "^[A-Z][a-z]{2,8}$"}),
        "maxItems": 2,
    },
    {
        "$defs": {"node": {**strict(value=INTEGER), "properties": {"value": INTEGER}}},
        **strict(
            left={"$ref": "#/$defs/node"}, right={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
        ),
    },
    strict(day={"type": "string", "format": "date"}),
)
# Patterns whose intersection llguidance would still look for after a minute, in 4 kB.
ENDLESS_SCHEMA = {"allOf": [{"type": "string", "pattern": f".*{number}.*"} for number in range(80)]}


@pytest.fixture(scope="module")
def engine(engine_dir: Path) -> Iterator[Engine]:
    with closing(Engine(engine_dir)) as engine:
        yield engine


@pytest.fixture(scope="module")
def tokenizer(engine_dir: Path) -> Tokenizer:
    return Tokenizer.load(engine_dir)


def prompt(tokenizer: Tokenizer, question: str) -> list[int]:
    return tokenizer.encode(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")


def text(tokenizer: Tokenizer, deltas: list[Delta]) -> str:
    return tokenizer.decode([token for delta in deltas for token in delta.token_ids])


def compilers() -> list[psutil.Process]:
    """The processes in which this one tries grammars, while they live."""
    alive = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if "slipway.runtime.grammar.trial" in child.cmdline()]


def kill_compilers() -> None:
    for compiler in compilers():
        compiler.kill()


def endless(title: str) -> str:
    """A schema that never compiles; no other one has this title."""
    return json.dumps({"title": title, **ENDLESS_SCHEMA})


def following(kind: str, grammar: str, **sampling: object) -> SamplingParams:
    chosen = {"max_tokens": 250, "temperature": 0.0, **sampling}
    return SamplingParams(**chosen, grammar=Grammar(kind, grammar))  # type: ignore[arg-type]


def test_eight_schemas_are_each_obeyed_and_change_no_other_answer(
    engine: Engine, tokenizer: Tokenizer
) -> None:
    ask = prompt(tokenizer, "Tell me about a city, in JSON.")
    free = SamplingParams(max_tokens=32, temperature=0.0, log_probs=True)
    bound = [
        following("json_schema", json.dumps(schema), temperature=row % 2, seed=row, log_probs=True)
        for row, schema in enumerate(SCHEMAS)
    ]
    every = [free, *bound, free]
    alone = [Answer(engine, "alone", ask, sampling).exact() for sampling in every]
    together = [Answer(engine, f"row-{row}", ask, sampling) for row, sampling in enumerate(every)]
    assert [answer.exact() for answer in together] == alone
    for schema, answer in zip(SCHEMAS, alone[1:-1], strict=True):
        document = text(tokenizer, [answer])
        jsonschema.validate(json.loads(document), schema)
        assert answer.finish_reason == "stop", document


def test_a_regular_expression_is_matched_by_the_whole_answer(engine: Engine, tokenizer: Tokenizer) -> None:
    ask = prompt(tokenizer, "What is the capital of France?")
    deltas = Answer(engine, "city", ask, following("regex", "[A-Z][a-z]{2,11}")).rest()
    assert re.fullmatch("[A-Z][a-z]{2,11}", text(tokenizer, deltas))
    dates = Answer(
        engine, "date", ask, following("regex", "[0-9]{4}-[0-9]{2}-[0-9]{2}", temperature=1.0)
    ).rest()
    assert re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text(tokenizer, dates))
    assert dates[-1].finish_reason == "stop"


def test_an_answer_that_is_cut_before_its_grammar_ends_says_so(engine: Engine, tokenizer: Tokenizer) -> None:
    ask = prompt(tokenizer, "List numbers.")
    schema = json.dumps({"type": "array", "items": INTEGER, "minItems": 50})
    deltas = Answer(engine, "cut", ask, following("json_schema", schema, max_tokens=10)).rest()
    assert deltas[-1].finish_reason == "length"
    assert sum(delta.token_count for delta in deltas) == 10


def test_log_probabilities_are_those_among_the_allowed_tokens(engine: Engine, tokenizer: Tokenizer) -> None:
    ask = prompt(tokenizer, "Yes or no?")
    sampling = following("regex", "(Yes|No)!", log_probs=True, top_log_probs=20)
    for delta in Answer(engine, "log-probs", ask, sampling).rest():
        for top, token in zip(delta.top_log_probs, delta.token_ids, strict=True):
            assert top.token_ids[0] == token
            assert len(top.token_ids) < 20, "no more are possible"
    assert delta.log_probs == (0.0,), "after `Yes` or `No` only one is"


def test_a_grammar_that_never_compiles_is_refused_and_holds_up_no_request(
    engine: Engine, tokenizer: Tokenizer
) -> None:
    ask = prompt(tokenizer, "Hi")
    running = Answer(engine, "running", ask, SamplingParams(max_tokens=4000, ignore_eos=True))
    running.next()
    bad = Answer(engine, "bad", ask, following("json_schema", endless("bad")))
    others = [following("json_schema", endless(f"{n}")) for n in range(5)]
    given_up = [Answer(engine, f"given-up-{n}", ask, sampling) for n, sampling in enumerate(others)]
    queued = Answer(engine, "queued", ask, following("regex", "[a-z]{3}"))
    wait_until(lambda: engine.stats.waiting == 7)
    for answer in given_up:
        engine.cancel(answer.request_id)
        answer.rest()
    left = Answer(engine, "left", ask, following("regex", "[a-c]{3}"))
    assert engine.cancel("left")
    assert left.rest() == [Delta(finish_reason="cancelled")]
    running.heard()
    with pytest.raises(InvalidRequest, match="too complex to compile"):
        bad.rest()
    start = time.perf_counter()
    with pytest.raises(InvalidRequest, match="too complex to compile"):
        Answer(engine, "again", ask, following("json_schema", endless("bad"))).rest()
    assert time.perf_counter() - start < PATIENCE_S / 2, "it is remembered"
    assert running.heard() > 20, "it went on meanwhile"
    start = time.perf_counter()
    assert re.fullmatch("[a-z]{3}", text(tokenizer, queued.rest()))
    waited = time.perf_counter() - start
    assert waited < len(given_up) * PATIENCE_S, "an abandoned grammar is not compiled"
    engine.cancel("running")
    running.rest()


def test_a_client_that_leaves_while_its_grammar_compiles_hears_so_at_once(
    engine: Engine, tokenizer: Tokenizer
) -> None:
    ask = prompt(tokenizer, "Hi")
    Answer(engine, "before", ask, following("regex", "no")).rest()
    sampling = following("json_schema", endless("leaver"))
    leaver = Answer(engine, "leaver", ask, sampling)
    with pytest.raises(InvalidRequest, match="leaver is in use"):
        Answer(engine, "leaver", ask, sampling)
    time.sleep(0.2)
    start = time.perf_counter()
    assert engine.cancel("leaver")
    assert leaver.rest() == [Delta(finish_reason="cancelled")]
    assert time.perf_counter() - start < PATIENCE_S / 2
    kill_compilers()  # no request waits for it
    assert text(tokenizer, Answer(engine, "known", ask, following("regex", "no")).rest()) == "no"
    assert not compilers(), "a grammar that was compiled before is not tried again"


def test_a_grammar_whose_compiler_is_killed_is_not_blamed_for_it(
    engine: Engine, tokenizer: Tokenizer
) -> None:
    ask = prompt(tokenizer, "Hi")
    Answer(engine, "before", ask, following("regex", "maybe")).rest()
    asked = Answer(engine, "endless", ask, following("json_schema", endless("killed")))
    time.sleep(0.2)
    kill_compilers()
    with pytest.raises(EngineFailed, match="was killed; send the request again"):
        asked.rest()
    assert text(tokenizer, Answer(engine, "again", ask, following("regex", "yes")).rest()) == "yes"


def test_a_grammar_that_crashes_its_compiler_is_refused(engine: Engine, tokenizer: Tokenizer) -> None:
    deep = "start: r0\n" + "".join(f"r{rule}:r{rule + 1}\n" for rule in range(18_000)) + 'r18000: "a"'
    with pytest.raises(InvalidRequest, match="too complex to compile"):
        Answer(engine, "deep", prompt(tokenizer, "Hi"), following("ebnf_grammar", deep)).rest()


def test_what_contradicts_a_grammar_is_refused_at_once(engine: Engine, tokenizer: Tokenizer) -> None:
    ask = prompt(tokenizer, "Hi")
    with pytest.raises(InvalidRequest, match="ignore_eos is set together with a grammar"):
        Answer(engine, "endless", ask, following("regex", "a", ignore_eos=True))
    with pytest.raises(InvalidRequest, match="262145 characters"):
        Answer(engine, "long", ask, following("regex", "a" * 262_145))
