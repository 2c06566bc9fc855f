"""The command `python -m client`: one streamed answer, or a chat."""

import sys
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from client.answer import stream_answer
from client.chat import ChatSession
from client.endpoint import Endpoint, ServerError

app = typer.Typer(add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)
notes = Console(stderr=True, soft_wrap=True)


@app.command()
def ask(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The question; `-` reads it from standard input. Without it, a chat starts."),
    ] = None,
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
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    temperature: Annotated[
        float,
        typer.Option(min=0, help="Sampling temperature; 0 takes the likeliest token, 0.7 gives variety."),
    ] = 0.0,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum length of the answer in tokens; the model's default if not given."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed; the same seed gives the same answer.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="End the answer before this text; may be given several times.")
    ] = None,
) -> None:
    """Ask a model on a server, or chat with it.

    A reasoning model's thoughts are dimmed, and go to standard error. Ctrl-C stops an answer.

    - `python -m client "What is the capital of France?"` prints one answer.
    - `python -m client` starts a chat; /help lists its commands.
    - `git diff | python -m client --system "Write a commit message." -` takes the question from a pipe.
    """
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # On Windows a pipe has a legacy encoding, which cannot write Korean.
            stream.reconfigure(encoding="utf-8")
    given = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed, "stop": stop or None}
    sampling: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        if prompt is None and sys.stdin.isatty():
            ChatSession(Endpoint.open(url, api_key, model, sampling), system, notes).run()
            return
        if prompt in (None, "-"):
            prompt = sys.stdin.read().strip()
        if not prompt:
            raise ServerError("The question is empty: give it in quotes, or through a pipe.")
        _answer_once(Endpoint.open(url, api_key, model, sampling), system, prompt)
    except ServerError as error:
        _fail(str(error), 1)


def main() -> None:
    """Run the command. A wrong option is one sentence on standard error, with exit status 2."""
    try:
        sys.exit(app(prog_name="python -m client", standalone_mode=False))
    except TyperException as error:
        _fail(error.format_message(), error.exit_code)


def _answer_once(endpoint: Endpoint, system: str | None, prompt: str) -> None:
    messages = [{"role": "user", "content": prompt}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    answer = stream_answer(endpoint, messages, sys.stdout, notes)
    notes.print(answer.summary(), style="dim", highlight=False)
    if answer.finish_reason is None:
        raise typer.Exit(130)


def _fail(message: str, status: int) -> NoReturn:
    notes.print(message, style="red", markup=False, highlight=False)
    sys.exit(status)


if __name__ == "__main__":
    main()
