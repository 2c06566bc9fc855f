"""What an answer is made of, in the order in which it comes.

Told apart by `text.tool_calls` and `text.reasoning`, given the shapes of each API by `gateway`.
"""

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
