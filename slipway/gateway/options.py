"""The options of a command, declared as the fields of a dataclass.

A field is `name: Annotated[type, typer.Option(...)] = default`, and its option is `--name`.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import TypeVar

from slipway.gateway.settings import Settings

T = TypeVar("T")


def command(options: type[T], run: Callable[[T], None]) -> Callable[..., None]:
    """The function `run` as Typer takes it: with a parameter for each field of `options`.

    The fields of the class itself come before those that it inherits.
    """

    @wraps(run)
    def invoke(**values: object) -> None:
        run(options(**values))

    own = inspect.get_annotations(options)
    parameters = inspect.signature(options).parameters.values()
    ordered = sorted(parameters, key=lambda parameter: parameter.name not in own)
    invoke.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    return invoke


def arguments(settings: Settings) -> list[str]:
    """The same settings as arguments of `slipway gateway`."""
    given: list[str] = []
    for field in fields(Settings):
        option, value = f"--{field.name.replace('_', '-')}", getattr(settings, field.name)
        if value is True:
            given.append(option)
        elif isinstance(value, list):
            given += [f"{option}={item}" for item in value]
        elif value is not None and value is not False:
            given.append(f"{option}={value}")
    return given
