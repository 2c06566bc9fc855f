"""What an answer is made of, in the order in which it comes.

Told apart by `text.tool_calls` and `text.reasoning`, given the shapes of each API by `gateway`.
"""

from collections.abc import Iterable
from dataclasses import dataclass


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
    for part in parts:
        match (merged[-1] if merged else None), part:
            case (Text(before), Text(after)):
                merged[-1] = Text(before + after)
            case (Reasoning(before), Reasoning(after)):
                merged[-1] = Reasoning(before + after)
            case (CallArguments(index, before), CallArguments(same, after)) if index == same:
                merged[-1] = CallArguments(index, before + after)
            case _:
                merged.append(part)
    return merged
