"""The command `slipway keys`: make, list and revoke keys."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from slipway.gateway.keys.file import KeyEntry

app = typer.Typer(
    help="""Make, list and revoke the keys of a file. A running gateway reads the file again within a second.

    - `slipway keys new ada --file keys.yaml` makes a key for ada and prints it, once.
    - `slipway gateway --engine engines/smollm2-135m-int4 --keys keys.yaml` then asks for a key.
    """,
    no_args_is_help=True,
)

File = Annotated[
    Path, typer.Option("--file", envvar="SLIPWAY_KEYS", help="The key file, YAML; comments in it get lost.")
]
Name = Annotated[str, typer.Argument(help="The owner of the key.", show_default=False)]


@app.command()
def new(
    name: Name,
    file: File = Path("keys.yaml"),
    model: Annotated[
        list[str] | None, typer.Option(help="Only for this model; repeatable.", show_default="all")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Counted when they arrive.", show_default="no limit")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Of prompts and answers together.", show_default="no limit")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May load and unload models.")] = False,
) -> None:
    """Make a key, print it once, and add its hash to the file.

    - `slipway keys new ada --requests-per-minute 60` prints a key that begins with `sk-slipway-`.
    """
    from slipway.gateway.keys import file as key_file

    entry: dict[str, object] = {
        "models": model or None,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "admin": admin,
    }
    print(key_file.add(file, name, entry))
    typer.echo(f"This is the key of {name}; it is shown only now. {file} holds its hash.", err=True)


@app.command("list")
def show(file: File = Path("keys.yaml")) -> None:
    """Print the name of each key and what it may do, a line for each.

    - `slipway keys list` prints lines such as `ada  requests_per_minute=60`.
    """
    from slipway.gateway.keys import file as key_file

    for name, entry in key_file.read(file).items():
        print(name, *_permissions(entry), sep="  ")


@app.command()
def revoke(name: Name, file: File = Path("keys.yaml")) -> None:
    """Take a key out of the file; a running gateway refuses it within a second.

    - `slipway keys revoke ada`
    """
    from slipway.gateway.keys import file as key_file

    key_file.revoke(file, name)
    typer.echo(f"{name} is revoked; a gateway that runs with {file} refuses it within a second.", err=True)


def _permissions(entry: "KeyEntry") -> list[str]:
    values = entry.model_dump(exclude={"sha256"}, exclude_defaults=True)
    return [
        f"{name}={','.join(value) if isinstance(value, list) else value}" for name, value in values.items()
    ]
