"""`make clients`: programs that people use, each in an environment of its own, against the sample model."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from clients.catalog import CLIENTS, NOTES, Client
from clients.environment import Environment, EnvironmentFailed
from clients.report import Check, page
from rich.console import Console
from rich.table import Table
from rich.text import Text
from support.paths import ROOT
from support.servers import gateway_server

ENGINE = ROOT / "engines" / "smollm2-135m-int4"
PAGE = ROOT / "docs" / "clients.md"
CACHE = ROOT / ".cache" / "clients"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    names: Annotated[list[str] | None, typer.Argument(help="Clients to run; all if not given.")] = None,
    write: Annotated[bool, typer.Option(help=f"Write the results of all clients to {PAGE.name}.")] = False,
) -> None:
    """Run the clients, print a table, and end with status 1 if a check failed."""
    unknown = set(names or ()) - CLIENTS.keys()
    if unknown or (names and write):
        raise typer.BadParameter(f"give names among {', '.join(CLIENTS)}, or --write, which runs all.")
    chosen = [CLIENTS[name] for name in names or CLIENTS]
    CACHE.mkdir(parents=True, exist_ok=True)
    with gateway_server("--engine", ENGINE, log=CACHE / "gateway.log") as server:
        checks = [check for client in chosen for check in _checks(client, server.url)]
    Console().print(_table(checks))
    if write:
        PAGE.write_text(page(checks, NOTES, ENGINE.name, datetime.now(UTC)), encoding="utf-8")
    sys.exit(any(check.failure for check in checks))


def _checks(client: Client, url: str) -> list[Check]:
    print(f"{client.name} …", file=sys.stderr)
    variables = {
        "BASE_URL": url,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": "unused",
        "MODEL": ENGINE.name,
        "CHECKPOINT": str(ROOT / "checkpoints" / "smollm2-135m-instruct"),
    }
    try:
        environment = Environment(client, CACHE / client.requirements.stem)
        environment.install()
        return environment.check(variables)
    except EnvironmentFailed as error:
        return [Check(client.name, "-", "installs", str(error))]


def _table(checks: list[Check]) -> Table:
    table = Table("client", "version", "what", "result")
    for check in checks:
        table.add_row(*map(Text, (check.client, check.version, check.what, check.failure or "works")))
    return table


app()
