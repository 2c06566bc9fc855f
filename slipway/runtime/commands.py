"""The command `slipway`: try a built engine without a server; `build` ends with its `check`."""

import queue
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from slipway.contract.errors import InvalidRequest, SlipwayError
from slipway.contract.generation import Delta, Grammar, SamplingParams
from slipway.contract.manifest import Manifest
from slipway.runtime import perplexity as engine_perplexity
from slipway.runtime.engine import Engine
from slipway.runtime.measure import replies
from slipway.runtime.memory import DEFAULT_CACHE_BYTES
from slipway.runtime.sequence import Event
from slipway.text.detokenizer import Detokenizer
from slipway.text.file import read_text
from slipway.text.perplexity import Score
from slipway.text.template import ChatTemplate
from slipway.text.tokenizer import Tokenizer

_CHECK_PROMPT = "The capital of France is"
_CHECK_TOKENS = 8

EngineDirectory = Annotated[
    Path, typer.Argument(metavar="DIR", help="A built engine, such as engines/smollm2-135m-int4.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Cores for a forward pass; the physical cores if not given.")
]
OnCpu = Annotated[
    bool, typer.Option("--cpu", help="Run an engine built for a GPU on the CPU, slowly, to try it.")
]
Speculation = Annotated[
    bool,
    typer.Option(
        envvar="SLIPWAY_SPECULATION",
        help="Guess what repeats and check several tokens in one pass; answers are the same without.",
    ),
]


def check(directory: EngineDirectory, threads: Threads = None, on_cpu: OnCpu = False) -> None:
    """Say whether an engine works: verify its files, load it, and generate a few tokens.

    Prints one line. Exits with 1 and one sentence if a file is damaged, the graph does not load, or what it
    computes is not a number.
    """
    try:
        print(_check(directory, threads, on_cpu))
    except SlipwayError as error:
        _fail(error)


def generate(
    directory: EngineDirectory,
    prompt: Annotated[str, typer.Argument(help="What to answer; `-` reads it from standard input.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the text as it is, without the model's chat template.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer; what fits if not given.")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 always takes the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw among the likeliest tokens of this total share.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw among this many likeliest tokens; 0: all.")] = 0,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    json_schema: Annotated[
        Path | None, typer.Option(help="Answer with a JSON document that is valid under the schema in here.")
    ] = None,
    regex: Annotated[
        str | None, typer.Option(help="Answer with a match of this regular expression (Rust's syntax).")
    ] = None,
    grammar: Annotated[
        Path | None, typer.Option(help="Answer as the grammar in here says (llguidance's Lark, or GBNF).")
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="End with a line of figures on standard error.")
    ] = False,
    threads: Threads = None,
    on_cpu: OnCpu = False,
    speculation: Speculation = True,
) -> None:
    """Stream one answer to the terminal, without a server.

    - `slipway generate engines/smollm2-135m-int4 "What is the capital of France?"`
    - `... "Write a haiku." --temperature 0.8 --seed 7` draws; the same seed draws the same again.
    - `... "Once upon a time" --raw --max-tokens 50` continues a text.
    - `... "When did it start?" --regex "[0-9]{4}"` gives an answer of four digits.
    """
    try:
        follow = _grammar(json_schema, regex, grammar)
        Manifest.read(directory)  # What is no engine is told so before a file of one is missed.
        tokenizer = Tokenizer.load(directory)
        text = sys.stdin.read() if prompt == "-" else prompt
        if not raw:
            text = ChatTemplate.load(directory, tokenizer).render([{"role": "user", "content": text}])
        token_ids = tokenizer.encode(text)
        with closing(Engine(directory, threads, on_cpu=on_cpu, speculation=speculation)) as engine:
            room = engine.manifest.limits.max_seq_len - len(token_ids)
            sampling = SamplingParams(
                max_tokens=max_tokens or max(room, 1),
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                seed=seed,
                grammar=follow,
            )
            detokenizer = Detokenizer(tokenizer)
            started, tokens, steps = time.perf_counter(), 0, 0
            for delta in _stream(engine, token_ids, sampling):
                print(detokenizer.push(delta.token_ids), end="", flush=True)
                tokens, steps = tokens + delta.token_count, steps + 1
            print()
            if figures:
                seconds, stats = time.perf_counter() - started, engine.stats
                print(
                    f"{tokens} tokens in {seconds:.2f} s and {steps} steps, prompt included; "
                    f"{stats.accepted_tokens} of {stats.draft_tokens} drafted tokens were right.",
                    file=sys.stderr,
                )
    except SlipwayError as error:
        _fail(error)


def perplexity(
    directory: EngineDirectory,
    text: Annotated[Path, typer.Argument(help="A UTF-8 text; some thousand tokens give a steady figure.")],
    reference: Annotated[
        Path | None, typer.Option(help="Compare with the score that `python -m build perplexity` wrote here.")
    ] = None,
    threads: Threads = None,
    on_cpu: OnCpu = False,
) -> None:
    """Say how well an engine foretells a text: what its quantization cost, when compared with its checkpoint.

    The engine reads windows of 512 tokens, each afresh, through the path that serves. The same engine and
    text give the same figure on the same machine.

    - `python -m build perplexity checkpoints/smollm2-135m-instruct TEXT --output reference.npz`
    - `slipway perplexity engines/smollm2-135m-int8 TEXT --reference reference.npz`
    """
    try:
        expected = Score.load(reference) if reference else None
        Manifest.read(directory)
        token_ids = Tokenizer.load(directory).encode(read_text(text))
        with typer.progressbar(length=len(token_ids), label="Reading", file=sys.stderr) as bar:
            score = engine_perplexity.measure(directory, token_ids, threads, bar.update, on_cpu)
        print(score)
        if expected:
            print(score.against(expected))
    except SlipwayError as error:
        _fail(error)


def measure_batches(
    directory: EngineDirectory,
    threads: Threads = None,
    speculation: Speculation = True,
    prefix_cache: Annotated[
        bool, typer.Option("--prefix-cache", help="Keep prompts, as when serving; else each is read afresh.")
    ] = False,
) -> None:
    """Do what standard input asks and time it, a JSON object per line; `python -m bench` asks.

    `{"prompts": [[token id, ...], ...], "max_tokens": n}` is answered with
    `{"tokens": [how many came for each], "seconds": s, "session_s": s, ...}`, of which the last is the time
    spent inside onnxruntime. `{"windows": [[token id, ...], ...]}` is answered with a line for each window,
    `{"log_probs": [...]}`, the logarithm of the probability of each token but the first.
    `runtime/measure.py` tells the rest.
    """

    def read(windows: list[list[int]]) -> Iterator[Score]:
        return engine_perplexity.read(directory, windows, threads, lambda _: None, on_cpu=False)

    try:
        cache_bytes = DEFAULT_CACHE_BYTES if prefix_cache else 0
        with closing(Engine(directory, threads, cache_bytes=cache_bytes, speculation=speculation)) as engine:
            for line in replies(engine, sys.stdin, read):
                print(line, flush=True)
    except SlipwayError as error:
        _fail(error)


def _check(directory: Path, threads: int | None, on_cpu: bool) -> str:
    with closing(Engine(directory, threads, on_cpu=on_cpu)) as engine:
        tokenizer = Tokenizer.load(directory)
        start = time.perf_counter()
        sampling = SamplingParams(max_tokens=_CHECK_TOKENS, temperature=0.0, ignore_eos=True)
        deltas = list(_stream(engine, tokenizer.encode(_CHECK_PROMPT), sampling))
        seconds = time.perf_counter() - start
        name = engine.manifest.name
    answer = tokenizer.decode([token for delta in deltas for token in delta.token_ids])
    return f"{name}: {_CHECK_TOKENS} tokens in {seconds:.2f} s, all finite: {_CHECK_PROMPT + answer!r}"


def _grammar(json_schema: Path | None, regex: str | None, grammar: Path | None) -> Grammar | None:
    given: list[Grammar] = []
    if json_schema is not None:
        given.append(Grammar("json_schema", read_text(json_schema)))
    if regex is not None:
        given.append(Grammar("regex", regex))
    if grammar is not None:
        given.append(Grammar("ebnf_grammar", read_text(grammar)))
    if len(given) > 1:
        raise InvalidRequest("An answer follows one grammar: give one of --json-schema, --regex, --grammar.")
    return given[0] if given else None


def _stream(engine: Engine, token_ids: list[int], sampling: SamplingParams) -> Iterator[Delta]:
    """The deltas of the only request of an engine."""
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    engine.submit("cli", token_ids, sampling, events.put)
    while True:
        event = events.get()
        if isinstance(event, SlipwayError):
            raise event
        yield event
        if event.finish_reason:
            return


def _fail(error: SlipwayError) -> None:
    print(error, file=sys.stderr)
    raise typer.Exit(1)
