"""The command `python -m bench runtime`: our engine and its peers side by side on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from bench import comparison_report, engines, terminal
from bench.comparison import Comparison, Workload, compare, steps
from bench.engines import EngineInputs
from bench.measured_engine import EngineSpec
from bench.options import JsonFile, Rounds, Seed, tokenizer_file
from bench.prompts import token_prompts
from bench.quality import QualityText, windows_of
from slipway.contract.errors import InvalidRequest
from slipway.runtime.cpu import physical_cores
from slipway.text.perplexity import WINDOW

SAMPLE_ENGINE = Path("engines/smollm2-135m-int4")
PREFILL_TOKENS = 512


def runtime(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[ENGINE]...", help=f"Built engines of one model; {SAMPLE_ENGINE} if not given."
        ),
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Compare with every peer that is installed.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help=f"Leave out a peer: {', '.join(engines.PEERS)}. transformers is slow."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Model for transformers, and reference for quality; the sample's if not given.",
        ),
    ] = None,
    gguf: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Model for OpenVINO GenAI and llama.cpp; both run once for each file. The sample's Q4_1 and "
            "Q8_0 if not given.",
        ),
    ] = None,
    llama_server: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="llama.cpp's llama-server; the one in .cache/peers if not given.",
        ),
    ] = None,
    over_http: Annotated[
        bool,
        typer.Option(
            "--over-http", help="Run our engines also behind the gateway, and behind the gateway and Triton."
        ),
    ] = False,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality/--no-quality",
            help="With --peers: score a text first; a speed counts only with the quality.",
        ),
    ] = True,
    text: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="UTF-8 text to score; the first 4,096 tokens of docs/, ASCII characters only, if not given.",
        ),
    ] = None,
    concurrency: Annotated[
        list[int] | None, typer.Option(min=1, help="Requests at once; 1, 4, 8 and 16 if not given.")
    ] = None,
    rounds: Rounds = 5,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens per prompt, no two alike.")] = 128,
    max_tokens: Annotated[int, typer.Option(min=2, help="Tokens per answer, exactly.")] = 128,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each engine; the physical cores if not given.")
    ] = None,
    seed: Seed = 0,
    json_file: JsonFile = None,
) -> None:
    """Run engines side by side on this machine: same prompts, lengths and threads, in turn.

    The table shows tokens/s (prefill included) for each number of requests at once, prefill tokens/s of a
    prompt of 512 tokens, and the ratio of our engine to the best peer. With --peers, each engine first scores
    the same text. The table shows its perplexity over that of the checkpoint in fp32. A speed counts only if
    the engine loses at most 1 % (int8, and engines that are not quantized) or 6 % (int4, and peers on their
    own files). Ctrl-C prints what was measured so far.

    - `python -m bench runtime engines/smollm2-135m-int4 --peers --without transformers`
    - `python -m bench runtime --over-http --concurrency 16` shows what the servers cost
    - `python -m bench runtime --peers --rounds 1 --no-quality` is a quick look at speed
    - `python -m bench runtime --peers --gguf model-Q4_0.gguf --gguf model-Q4_1.gguf --text book.txt`
    """
    if not peers and (without or checkpoint or gguf or llama_server or text or not quality):
        raise typer.BadParameter("options about peers need --peers: add it.")
    if unknown := sorted(set(without or []) - engines.PEERS.keys()):
        known = ", ".join(engines.PEERS)
        raise typer.BadParameter(f"--without {unknown[0]} is no peer; the peers are {known}.")
    built = tuple(folders or [SAMPLE_ENGINE])
    workloads = [Workload(requests, prompt_tokens, max_tokens) for requests in concurrency or (1, 4, 8, 16)]
    workloads.append(Workload(1, PREFILL_TOKENS, 1))
    tokenizer = tokenizer_file(built[0])
    inputs = EngineInputs(
        built,
        checkpoint or engines.sample_checkpoint(built),
        tuple(gguf or engines.sample_ggufs(built)),
        llama_server or engines.installed_llama_server(),
        slots=max(workload.requests for workload in workloads),
        length=max(WINDOW, *(workload.prompt_tokens + workload.max_tokens for workload in workloads)),
        threads=threads or physical_cores(),
    )
    specs, left_out = engines.ours(inputs), dict[str, str]()
    if over_http:
        specs += engines.over_http(inputs)
    scored = None
    if peers:
        found, left_out = engines.peers(inputs, set(without or []))
        specs += found
        if not quality:
            left_out["quality"] = "excluded by --no-quality"
        elif reference := engines.checkpoint(inputs):
            scored = _quality_text(text, tokenizer, reference)
        else:
            left_out["quality"] = (
                f"{engines.NO_CHECKPOINT}; `make setup` installs transformers, which reads it"
            )
    with terminal.step_progress(steps(specs, workloads, rounds, scored)) as report:
        comparison = compare(specs, workloads, rounds, token_prompts(tokenizer, seed), report, scored)
    terminal.print_report(comparison_report.table(comparison, inputs.threads, left_out))
    if json_file:
        comparison_report.write_json(json_file, comparison, inputs.threads, left_out, scored)
    _check_samples(comparison, specs)


def _quality_text(text: Path | None, tokenizer: Path, checkpoint: EngineSpec) -> QualityText:
    try:
        return QualityText(windows_of(text, tokenizer), checkpoint)
    except InvalidRequest as error:
        raise typer.BadParameter(f"--text: {error}") from None


def _check_samples(comparison: Comparison, specs: list[EngineSpec]) -> None:
    """Exit with 1 when nothing was measured, or one of our engines failed."""
    if not comparison.samples:
        terminal.print_error("Nothing was measured.")
        raise typer.Exit(1)
    if any(spec.name in comparison.failures for spec in specs if spec.ours):
        raise typer.Exit(1)
