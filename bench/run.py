"""The command `python -m bench run`: users who ask a running server, each in a closed loop."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import TextColumn

from bench import load_report, prompts, terminal
from bench.answer import RequestFailed
from bench.measurement import summarize
from bench.options import JsonFile, Seed
from bench.server import Server
from bench.users import LoadProgress, LoadResult, LoadSettings, run_load


def run(
    url: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:9000",
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar=["SLIPWAY_API_KEY", "OPENAI_API_KEY"],
            help="Key for a server that requires one. Other users of this machine can see options; prefer a "
            "variable.",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask; the server's first if not given.")] = None,
    users: Annotated[int, typer.Option(min=1, help="Users at once; each has one request at a time.")] = 4,
    spawn_rate: Annotated[
        float | None,
        typer.Option(min=0.01, help="Users started per second; all within a second if not given."),
    ] = None,
    duration: Annotated[
        float, typer.Option(min=0.1, help="Seconds to measure, after all users have started.")
    ] = 30.0,
    prompt_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Length of random prompts in tokens, about; 128 if not given."),
    ] = None,
    prompts_file: Annotated[
        Path | None,
        typer.Option("--prompts", exists=True, dir_okay=False, help="File with your prompts, one per line."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens per answer.")] = 128,
    ignore_eos: Annotated[
        bool,
        typer.Option(
            help="Make every answer exactly --max-tokens long; another length counts as a failed request."
        ),
    ] = True,
    temperature: Annotated[
        float, typer.Option(min=0, help="Sampling temperature; 0 takes the likeliest token.")
    ] = 0.0,
    seed: Seed = 0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds of silence after which a request fails.")
    ] = 120.0,
    json_file: JsonFile = None,
) -> None:
    """Load a running server with users who ask at the same time, and show what they see.

    TTFT is the time to the first text, TTFO to the first that is no thought of a reasoning model, TPOT the
    time per output token after TTFT, E2E the time to the end.
    Percentiles come from raw samples. Ctrl-C prints what was measured so far.

    - `python -m bench run --users 4 --duration 10`
    - `python -m bench run --prompts questions.txt --no-ignore-eos` asks your questions, and lets answers end
    """
    if prompt_tokens and prompts_file:
        raise typer.BadParameter("--prompt-tokens and --prompts exclude each other: give one of them.")
    try:
        server = Server(url, timeout, api_key)
        body = {
            "model": model or server.first_model(),
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        if prompts_file:
            texts = prompts.shuffled(prompts.read(prompts_file), seed)
        else:
            texts = random_prompts(server, body, prompt_tokens or 128, seed)
    except RequestFailed as error:
        terminal.print_error(f"{str(error).rstrip('.')}.")
        raise typer.Exit(1) from None
    settings = LoadSettings(
        url=server.url,
        body={**body, "ignore_eos": ignore_eos, "stream_options": {"include_usage": True}},
        prompts=texts,
        expected_tokens=max_tokens if ignore_eos else None,
        users=users,
        spawn_rate=spawn_rate or users,
        duration_s=duration,
        timeout_s=timeout,
        api_key=api_key,
    )
    _measure(settings, json_file)


def random_prompts(server: Server, body: dict[str, Any], tokens: int, seed: int) -> Iterator[str]:
    """Prompts of about this many tokens of the model that `body` names. Raises RequestFailed."""

    def count(text: str) -> int:
        answer = server.chat({**body, "max_tokens": 1, "messages": [{"role": "user", "content": text}]})
        return int(answer["usage"]["prompt_tokens"])

    with terminal.interruptible():
        return prompts.random_texts(prompts.words_for(tokens, count, seed), seed)


def _measure(settings: LoadSettings, json_file: Path | None) -> None:
    result = run_with_progress(settings)
    summary = summarize(result.samples, result.window_s)
    terminal.print_report(load_report.table(summary, settings, result))
    if json_file:
        load_report.write_json(json_file, summary, settings, result)
    if not summary.requests:
        terminal.print_error("Nothing was measured: no request succeeded.")
        raise typer.Exit(1)


def run_with_progress(settings: LoadSettings) -> LoadResult:
    """Run the load test with a progress bar."""
    with terminal.progress_bar(TextColumn("{task.fields[requests]} requests")) as progress:
        bar = progress.add_task("starting users", total=settings.duration_s, requests=0)

        def show(now: LoadProgress) -> None:
            if now.elapsed_s is None:
                progress.update(bar, requests=now.requests)
                return
            step = "measuring"
            if now.elapsed_s >= settings.duration_s:
                step = f"{now.users} users finish (Ctrl-C: stop now)"
            elapsed = min(now.elapsed_s, settings.duration_s)
            progress.update(bar, description=step, completed=elapsed, requests=now.requests)

        return run_load(settings, show)
