"""slipway keys: make, list and revoke keys; added to the command by `gateway.__main__`."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from slipway.contract.errors import SlipwayError
from slipway.gateway.keys import file as key_file

app = typer.Typer(
    help="Make, list and revoke the keys of a file. A running gateway reads it again within a second.",
    no_args_is_help=True,
)

File = Annotated[
    Path, typer.Option("--file", envvar="SLIPWAY_KEYS", help="The key file, YAML; comments in it get lost.")
]
Name = Annotated[str, typer.Argument(help="Who or what the key is for.", show_default=False)]


@app.command()
def new(
    name: Name,
    file: File = Path("keys.yaml"),
    model: Annotated[
        list[str] | None, typer.Option(help="Only for this model; repeatable.", show_default="all")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Counted as they come.", show_default="no limit")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Of prompts and answers together.", show_default="no limit")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May load and unload models.")] = False,
) -> None:
    """Make a key, print it once, and add its hash to the file."""
    entry: dict[str, object] = {
        "models": model or None,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "admin": admin,
    }
    try:
        print(key_file.add(file, name, entry))
    except SlipwayError as error:
        _fail(error)
    typer.echo(f"This is the key of {name}; it is shown only now. {file} holds its hash.", err=True)


@app.command("list")
def show(file: File = Path("keys.yaml")) -> None:
    """Say which keys there are and what they may do."""
    try:
        entries = key_file.read(file)
    except SlipwayError as error:
        _fail(error)
    for name, entry in entries.items():
        print(name, *_told(entry), sep="  ")


@app.command()
def revoke(name: Name, file: File = Path("keys.yaml")) -> None:
    """Take a key out of the file."""
    try:
        key_file.revoke(file, name)
    except SlipwayError as error:
        _fail(error)
    typer.echo(f"{name} is revoked; a gateway that runs with {file} refuses it within a second.", err=True)


def _told(entry: key_file.KeyEntry) -> list[str]:
    values = entry.model_dump(exclude={"sha256"}, exclude_defaults=True)
    return [
        f"{what}={','.join(value) if isinstance(value, list) else value}" for what, value in values.items()
    ]


def _fail(error: SlipwayError) -> NoReturn:
    typer.echo(str(error), err=True)
    raise typer.Exit(1)
