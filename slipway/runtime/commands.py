"""The commands that run one engine without a server: check, generate, perplexity, measure.

Heavy packages are imported inside the commands, so that `slipway --help` and servers start fast without them.
"""

import queue
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slipway.contract.errors import InvalidRequest, SlipwayError
from slipway.contract.generation import Delta, Grammar, SamplingParams

if TYPE_CHECKING:
    from slipway.runtime.engine import Engine
    from slipway.text.detokenizer import Detokenizer
    from slipway.text.padding import Unpadder
    from slipway.text.perplexity import Score

_CHECK_PROMPT = "The capital of France is"
_CHECK_TOKENS = 8

EngineDirectory = Annotated[
    Path, typer.Argument(metavar="DIR", help="A built engine, such as engines/smollm2-135m-int4.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU cores per forward pass. Default: all physical cores.")
]
OnCpu = Annotated[
    bool, typer.Option("--cpu", help="Run an engine built for a GPU on the CPU, slowly, to try it.")
]
Speculation = Annotated[
    bool,
    typer.Option(
        envvar="SLIPWAY_SPECULATION",
        help="Draft tokens where the answer repeats its context. The answer is the same without.",
    ),
]


def check(directory: EngineDirectory, threads: Threads = None, on_cpu: OnCpu = False) -> None:
    """Check that an engine works: verify its files, load it, generate a few tokens.

    Prints one line, and one more for each thing that the kernels of this machine do not allow. Exits with
    status 1 and one sentence if a file is damaged, the model does not load, or its logits are not numbers.

    - `slipway check engines/smollm2-135m-int4`
    """
    from slipway.runtime.engine import Engine
    from slipway.text.tokenizer import Tokenizer

    with closing(Engine(directory, threads, on_cpu=on_cpu)) as engine:
        tokenizer = Tokenizer.load(directory)
        start = time.perf_counter()
        sampling = SamplingParams(max_tokens=_CHECK_TOKENS, temperature=0.0, ignore_eos=True)
        prompt = tokenizer.encode(_CHECK_PROMPT)
        deltas = list(_stream(engine, prompt, sampling))
        seconds = time.perf_counter() - start
    text = tokenizer.decode([*prompt, *(token for delta in deltas for token in delta.token_ids)])
    name = engine.manifest.name
    print(f"{name}: {_CHECK_TOKENS} tokens in {seconds:.2f} s, all finite: {text!r}")
    for note in engine.notes:
        print(note)


def generate(
    directory: EngineDirectory,
    prompt: Annotated[str, typer.Argument(help="The user's message; `-` reads it from standard input.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the prompt as plain text, without the chat template.")
    ] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum length of the answer. Default: the engine's, if it fits."),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 always takes the most likely token.")] = 0.0,
    top_p: Annotated[
        float, typer.Option(help="Sample from the top tokens with this total probability.")
    ] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Sample from the top K tokens; 0 means all.")] = 0,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    json_schema: Annotated[
        Path | None, typer.Option(help="A file with a JSON schema; the answer is a valid JSON document.")
    ] = None,
    regex: Annotated[
        str | None, typer.Option(help="A regular expression (Rust's syntax); the whole answer matches it.")
    ] = None,
    grammar: Annotated[
        Path | None, typer.Option(help="A file with a grammar (llguidance's Lark, or GBNF) for the answer.")
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Print tokens, seconds and steps on standard error at the end.")
    ] = False,
    threads: Threads = None,
    on_cpu: OnCpu = False,
    speculation: Speculation = True,
) -> None:
    """Stream one answer to the terminal, without a server.

    - `slipway generate engines/smollm2-135m-int4 "What is the capital of France?"`
    - `... "Write a haiku." --temperature 0.8 --seed 7` samples; the same seed gives the same answer.
    - `... "Once upon a time" --raw --max-tokens 50` continues a text.
    - `... "When did it start?" --regex "[0-9]{4}"` gives an answer of four digits.
    """
    from slipway.contract.manifest import Manifest
    from slipway.runtime.engine import Engine
    from slipway.runtime.isolated.template import IsolatedTemplate
    from slipway.text.detokenizer import Detokenizer
    from slipway.text.padding import Unpadder
    from slipway.text.template import TemplateSource
    from slipway.text.tokenizer import Tokenizer

    chosen = _grammar(json_schema, regex, grammar)
    Manifest.read(directory)  # A folder that is no engine gets its own error, before one about a file in it.
    tokenizer = Tokenizer.load(directory)
    text = sys.stdin.read() if prompt == "-" else prompt
    if not raw:
        source = TemplateSource.read(directory, tokenizer.special_tokens)
        with closing(IsolatedTemplate(source)) as template:
            text = template.render([{"role": "user", "content": text}])
    token_ids = tokenizer.encode(text)
    with closing(Engine(directory, threads, on_cpu=on_cpu, speculation=speculation)) as engine:
        room = engine.manifest.limits.max_seq_len - len(token_ids)
        sampling = SamplingParams(
            max_tokens=max_tokens or max(min(room, engine.manifest.default_max_tokens), 1),
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            seed=seed,
            grammar=chosen,
        )
        unpadder = Unpadder() if chosen else tokenizer.unpadder(token_ids if raw else ())
        deltas = _stream(engine, token_ids, sampling)
        _print_answer(engine, Detokenizer(tokenizer), unpadder, deltas, figures)


def perplexity(
    directory: EngineDirectory,
    text: Annotated[Path, typer.Argument(help="A UTF-8 text; a few thousand tokens give a steady figure.")],
    reference: Annotated[
        Path | None, typer.Option(help="A score written by `python -m build perplexity`, to compare with.")
    ] = None,
    threads: Threads = None,
    on_cpu: OnCpu = False,
) -> None:
    """Print an engine's perplexity on a text; with --reference, the loss by quantization.

    The engine reads windows of 512 tokens, each without the text before it. The same engine and text give the
    same figure on the same machine.

    - `python -m build perplexity checkpoints/smollm2-135m-instruct TEXT --output reference.npz`
    - `slipway perplexity engines/smollm2-135m-int8 TEXT --reference reference.npz`
    """
    from slipway.contract.manifest import Manifest
    from slipway.runtime.perplexity import score_text
    from slipway.text.file import read_text
    from slipway.text.perplexity import Score
    from slipway.text.tokenizer import Tokenizer

    expected = Score.load(reference) if reference else None
    Manifest.read(directory)
    token_ids = Tokenizer.load(directory).encode(read_text(text))
    with typer.progressbar(length=len(token_ids), label="Reading", file=sys.stderr) as bar:
        score = score_text(directory, token_ids, threads, bar.update, on_cpu)
    print(score)
    if expected:
        print(score.against(expected))


def measure(
    directory: EngineDirectory,
    threads: Threads = None,
    speculation: Speculation = True,
    prefix_cache: Annotated[
        bool, typer.Option("--prefix-cache", help="Keep prompts for reuse, as servers do. Default: no cache.")
    ] = False,
) -> None:
    """Time the batches that standard input describes, one JSON object per line; for `python -m bench`.

    - `{"prompts": [[token id, ...], ...], "max_tokens": n}` is answered with
      `{"tokens": [output tokens of each prompt], "seconds": s, "session_s": s, ...}`.
      `session_s` is the time inside the library that runs the engine.
    - `{"windows": [[token id, ...], ...]}` is answered with a line for each window,
      `{"log_probs": [...]}`: the log-probability of each token but the first.

    The docstring of `slipway/runtime/measure.py` describes every field.
    """
    from slipway.runtime.engine import Engine
    from slipway.runtime.measure import replies
    from slipway.runtime.memory import DEFAULT_CACHE_BYTES
    from slipway.runtime.perplexity import score_windows

    def score(windows: list[list[int]]) -> "Iterator[Score]":
        return score_windows(directory, windows, threads, lambda _: None, on_cpu=False)

    cache_bytes = DEFAULT_CACHE_BYTES if prefix_cache else 0
    with closing(Engine(directory, threads, cache_bytes=cache_bytes, speculation=speculation)) as engine:
        for line in replies(engine, sys.stdin, score):
            print(line, flush=True)


def _print_answer(
    engine: "Engine",
    detokenizer: "Detokenizer",
    unpadder: "Unpadder",
    deltas: Iterable[Delta],
    figures: bool,
) -> None:
    started, tokens, steps = time.perf_counter(), 0, 0
    for delta in deltas:
        print(unpadder.push(detokenizer.push(delta.token_ids)), end="", flush=True)
        tokens, steps = tokens + delta.token_count, steps + 1
    print()
    if figures:
        seconds, stats = time.perf_counter() - started, engine.stats
        print(
            f"{tokens} tokens in {seconds:.2f} s and {steps} steps, prompt included; "
            f"{stats.accepted_tokens} of {stats.draft_tokens} drafted tokens were right.",
            file=sys.stderr,
        )


def _grammar(json_schema: Path | None, regex: str | None, grammar: Path | None) -> Grammar | None:
    from slipway.text.file import read_text

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


def _stream(engine: "Engine", token_ids: list[int], sampling: SamplingParams) -> Iterator[Delta]:
    """The deltas of a single request."""
    events: queue.SimpleQueue[Delta | SlipwayError] = queue.SimpleQueue()
    engine.submit("cli", token_ids, sampling, events.put)
    while True:
        event = events.get()
        if isinstance(event, SlipwayError):
            raise event
        yield event
        if event.finish_reason:
            return
