"""The command `python -m client`: one streamed answer, or a chat."""

import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from client.answer import stream_answer
from client.chat import Chat
from client.server import Server, ServerError

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command()
def ask(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The question; `-` reads it from standard input. Without one, a chat begins."),
    ] = None,
    url: Annotated[str, typer.Option(help="Where the server is.")] = "http://127.0.0.1:9000",
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar=["SLIPWAY_API_KEY", "OPENAI_API_KEY"],
            help="The key, where the server asks for one; others on this machine see options, not variables.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Which model; the server's first one if not given.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="The system prompt.")] = None,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 always takes the likeliest token; 0.7 is livelier.")
    ] = 0.0,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="End the answer before this text; may be given several times.")
    ] = None,
) -> None:
    """Ask a served model, or chat with it.

    - `python -m client "What is the capital of France?"` prints one answer.
    - `python -m client` starts a chat; /help lists its commands.
    - `git diff | python -m client --system "Write a commit message." -` asks about what comes from a pipe.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        # A pipe on Windows speaks the legacy code page, which has no Korean.
        stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    notes = Console(stderr=True, soft_wrap=True)
    given = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "stop": stop or None}
    sampling: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        if prompt is None and sys.stdin.isatty():
            Chat(Server.at(url, api_key, model, sampling), system, notes).run()
            return
        if prompt in (None, "-"):
            prompt = sys.stdin.read().strip()
        if not prompt:
            raise ServerError("There is no question: put it in quotes, or pipe it in.")
        _answer_once(Server.at(url, api_key, model, sampling), system, prompt, notes)
    except ServerError as error:
        notes.print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None


def _answer_once(server: Server, system: str | None, prompt: str, notes: Console) -> None:
    messages = [{"role": "user", "content": prompt}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    answer = stream_answer(server, messages, sys.stdout)
    notes.print(answer.summary(), style="dim", highlight=False)
    if answer.finish_reason is None:
        raise typer.Exit(130)


if __name__ == "__main__":
    app(prog_name="python -m client")
