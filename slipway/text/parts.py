"""The parts of an answer, in the order in which they come: reasoning, text and tool calls."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any


@dataclass(frozen=True, slots=True)
class AnswerText:
    """More of the text for the user; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerReasoning:
    """More of the reasoning that comes before the text; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """The model calls the tool `name`. index: of this call among those of the answer, from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of a call's arguments; the pieces of one call joined are a valid JSON object."""

    index: int
    text: str


Part = AnswerText | AnswerReasoning | CallStart | CallArguments


def merged(parts: Iterable[Part]) -> list[Part]:
    """The same parts, with neighbours of one kind (and of one call) merged."""
    result: list[Part] = []
    for _, group in groupby(parts, _kind):
        alike: list[Any] = list(group)
        if isinstance(alike[0], CallStart):
            result += alike
        else:
            result.append(replace(alike[0], text="".join(part.text for part in alike)))
    return result


def _kind(part: Part) -> tuple[type[Part], int]:
    return type(part), part.index if isinstance(part, CallArguments) else 0
