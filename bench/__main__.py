"""The command `python -m bench`: load tests of a running server, and engines side by side."""

# ruff: noqa: E402
# gevent replaces sockets, locks and ssl before anything else imports them: Locust's users are greenlets.
from gevent import monkey

monkey.patch_all()

import typer

from bench import environment
from bench.latency import latency
from bench.run import run
from bench.runtime import runtime
from bench.soak import soak
from slipway.contract.command import run_command

PROGRAM = "python -m bench"

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False
)


@app.callback()
def describe() -> None:
    """Measure how fast a server or an engine is.

    - `python -m bench run` loads a running server: throughput, time to the first token, time per token.
    - `python -m bench runtime --peers` compares our engine with other engines on this machine.
    - `python -m bench soak` loads a server for minutes, and compares the end with the beginning.
    - `python -m bench latency` shows what a known prefix saves, and how long prompts slow down streams.
    """
    environment.drop_server_settings()


app.command()(run)
app.command()(runtime)
app.command()(latency)
app.command()(soak)


def main() -> None:
    """Run the command."""
    run_command(app, PROGRAM)


if __name__ == "__main__":
    main()
