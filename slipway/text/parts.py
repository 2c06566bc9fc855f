"""What an answer is made of, in the order in which it comes.

Told apart by `text.tool_calls` and `text.reasoning`, given the shapes of each API by `gateway`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any


@dataclass(frozen=True, slots=True)
class Text:
    """More of what the model says to the user; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """More of what the model thinks before it says something; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegins:
    """The model calls a tool. index: of this call among those of the answer, from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of the JSON object that a call passes; the pieces of one call joined are valid JSON."""

    index: int
    text: str


Part = Text | Reasoning | CallBegins | CallArguments


def joined(parts: Iterable[Part]) -> list[Part]:
    """The same parts with neighbours of one kind, and of one call, made one."""
    merged: list[Part] = []
    for _, group in groupby(parts, _kind):
        alike: list[Any] = list(group)
        if isinstance(alike[0], CallBegins):
            merged += alike
        else:
            merged.append(replace(alike[0], text="".join(part.text for part in alike)))
    return merged


def _kind(part: Part) -> tuple[type[Part], int]:
    return type(part), part.index if isinstance(part, CallArguments) else 0
