"""The command `slipway`: start servers, try an engine, manage keys."""

from typing import Annotated

import typer

from slipway.contract.command import run_command
from slipway.contract.version import version
from slipway.gateway.command import GatewayOptions, gateway
from slipway.gateway.keys import command as keys
from slipway.gateway.options import command
from slipway.runtime import commands as runtime
from slipway.serve.commands import doctor, serve, triton
from slipway.serve.options import ServeOptions, TritonOptions

app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"slipway {version()}")
        raise typer.Exit


@app.callback()
def _describe(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Serve built engines under OpenAI's API, and try them without a server.

    - `slipway serve` starts Triton and the gateway on this machine.
    - `slipway gateway --engine engines/smollm2-135m-int4` serves one engine without Triton.
    - `slipway generate engines/smollm2-135m-int4 "Hello!"` asks one engine without a server.

    Engines are built by `python -m build`, in the checkout.
    """


app.command()(command(ServeOptions, serve))
app.command()(command(TritonOptions, triton))
app.command()(command(ServeOptions, doctor))
app.command()(command(GatewayOptions, gateway))
app.add_typer(keys.app, name="keys")
app.command()(runtime.check)
app.command()(runtime.generate)
app.command()(runtime.perplexity)
app.command()(runtime.measure)


def main() -> None:
    """Run the command."""
    run_command(app, "slipway")


if __name__ == "__main__":
    main()
