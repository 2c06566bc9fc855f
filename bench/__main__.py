"""The command `python -m bench`: load tests of a running gateway, and engines side by side."""

# ruff: noqa: E402
# First of all, before anything imports sockets, locks or ssl: Locust's users are greenlets.
from gevent import monkey

monkey.patch_all()

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import TextColumn

from bench import environment, prompts, report
from bench.answer import RequestFailed
from bench.api_key import ApiKey
from bench.json_file import JsonFile
from bench.latency import latency
from bench.measurement import summarise
from bench.progress import bar_of, interruptible
from bench.server import Server
from bench.side_by_side import runtime
from bench.users import Load, Run, drive
from bench.users import Progress as Stand

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False
)


@app.callback()
def bench() -> None:
    """Measure a server under load, engines side by side, and what waits for what inside one engine."""
    environment.shed()


app.command()(runtime)
app.command()(latency)


@app.command()
def run(
    url: Annotated[str, typer.Option(help="Where the server is.")] = "http://127.0.0.1:9000",
    api_key: ApiKey = None,
    model: Annotated[
        str | None, typer.Option(help="Which model; the server's first one if not given.")
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="How many ask at the same time, each one by one.")] = 4,
    spawn_rate: Annotated[
        float | None,
        typer.Option(min=0.01, help="Users started per second; all within a second if not given."),
    ] = None,
    duration: Annotated[
        float, typer.Option(min=0.1, help="Seconds to measure, once all users have started.")
    ] = 30.0,
    prompt_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Make prompts of about this many tokens, no two alike. 128 if neither is given."
        ),
    ] = None,
    prompts_file: Annotated[
        Path | None,
        typer.Option(
            "--prompts", exists=True, dir_okay=False, help="Take prompts from a file, one per line."
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens per answer.")] = 128,
    ignore_eos: Annotated[
        bool,
        typer.Option(
            help="Make every answer exactly --max-tokens long; an answer that is not counts as failed."
        ),
    ] = True,
    temperature: Annotated[float, typer.Option(min=0, help="0 always takes the likeliest token.")] = 0.0,
    seed: Annotated[
        int, typer.Option(help="Seed of the made prompts and of the order of the given ones.")
    ] = 0,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds of silence until a request fails.")
    ] = 120.0,
    json_file: JsonFile = None,
) -> None:
    """Keep a fixed number of users busy (closed loop) and measure what each of them sees.

    TTFT is the time to the first text, TPOT the time per output token after it, E2E the time to the end;
    percentiles come from raw samples. Ctrl-C prints what was measured so far.

    - `python -m bench run --users 4 --duration 10`
    - `... --prompts questions.txt --no-ignore-eos` asks questions of your own and lets answers end
    """
    errors = Console(stderr=True, soft_wrap=True)
    if prompt_tokens and prompts_file:
        raise typer.BadParameter("give either this or --prompts.", param_hint="--prompt-tokens")
    try:
        server = Server(url, timeout, api_key)
        body: dict[str, Any] = {
            "model": model or server.first_model(),
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        if prompts_file:
            asked = prompts.endless(prompts.from_file(prompts_file), seed)
        else:
            with interruptible(), errors.status("Sizing the prompts with the model's tokenizer"):
                asked = prompts.made(_words(server, body, prompt_tokens or 128, seed), seed)
    except RequestFailed as error:
        errors.print(f"{str(error).rstrip('.')}.", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None

    load = Load(
        url=server.url,
        body={**body, "ignore_eos": ignore_eos, "stream_options": {"include_usage": True}},
        prompts=asked,
        expected_tokens=max_tokens if ignore_eos else None,
        users=users,
        spawn_rate=spawn_rate or users,
        duration_s=duration,
        timeout_s=timeout,
        api_key=api_key,
    )
    measured = _drive_with_progress(load)
    summary = summarise(measured.samples, measured.window_s)
    Console().print(report.table(summary, load, measured))
    if json_file:
        report.write_json(json_file, summary, load, measured, str(body["model"]))
    if not summary.requests:
        errors.print("Nothing was measured: no request ended well.", style="red")
        raise typer.Exit(1)


def _words(server: Server, body: dict[str, Any], tokens: int, seed: int) -> int:
    def count(text: str) -> int:
        answer = server.chat({**body, "max_tokens": 1, "messages": [{"role": "user", "content": text}]})
        return int(answer["usage"]["prompt_tokens"])

    return prompts.words_for(tokens, count, seed)


def _drive_with_progress(load: Load) -> Run:
    requests = TextColumn("{task.fields[requests]} requests")
    with bar_of(requests) as progress:
        bar = progress.add_task("starting users", total=load.duration_s, requests=0)

        def show(stand: Stand) -> None:
            if stand.elapsed_s is None:
                progress.update(bar, requests=stand.requests)
            elif stand.elapsed_s < load.duration_s:
                progress.update(
                    bar, description="measuring", completed=stand.elapsed_s, requests=stand.requests
                )
            else:
                left = f"letting {stand.users} finish (Ctrl-C: now)"
                progress.update(bar, description=left, completed=load.duration_s, requests=stand.requests)

        return drive(load, show)


if __name__ == "__main__":
    app(prog_name="python -m bench")
