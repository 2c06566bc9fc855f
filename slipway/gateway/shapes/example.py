"""Examples of requests and answers for the OpenAPI document."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from slipway.gateway.answers.answer import Answer, Piece
from slipway.gateway.shapes.reply import Head, Reply, as_json
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerText

# Stands for the name of a model that is served.
MODEL = "MODEL"
ERROR = {
    "message": "temperature must be less than or equal to 2, not 3.",
    "type": "invalid_request_error",
    "param": "temperature",
    "code": "invalid_value",
}
MESSAGE_ERROR = {
    "type": "invalid_request_error",
    "message": "temperature must be less than or equal to 1, not 3.",
}
SHOWN_TIME = 1795599534
CONVERSATION = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
QUESTION = {**CONVERSATION, "max_tokens": 32}
SENTENCE = "The capital of France is Paris."


@dataclass(frozen=True, slots=True)
class Events:
    """What an endpoint streams.

    shapes: of its events. error: the shape of an event that ends a stream midway. shown: an example.
    named: events have their type as a name beside their data. done: `[DONE]` is the last event.
    """

    shapes: tuple[type[BaseModel], ...]
    error: type[BaseModel]
    shown: list[dict[str, Any]]
    named: bool = False
    done: bool = True


@dataclass(frozen=True, slots=True)
class Example:
    """One endpoint that takes a body: its shape, and examples, without `model`.

    asked: bodies, by what they are for; the first one gets `answer`. events: None where nothing is streamed.
    """

    body: type[BaseModel]
    asked: dict[str, dict[str, Any]]
    answer: dict[str, Any]
    events: Events | None = None


def shown(prefix: str, text: str, reply: Callable[[Head], Reply]) -> tuple[dict[str, Any], list[Any]]:
    """The body and the events of an answer, as the endpoint makes them. prefix: of the answer's id."""
    head = Head(f"{prefix}0f5754f6fb0d4de0803a7e850465c6ae", MODEL, SHOWN_TIME)
    pieces = (Piece((AnswerText(text),), 8), Piece((), 0, "stop"))
    answer, usage = Answer(), Usage.of(13, 8, [0])
    for piece in pieces:
        answer.add(piece)
    stream = reply(head)
    sent = stream.opening(1) + b"".join(map(stream.piece, pieces)) + stream.closing(usage)
    lines = [line.removeprefix(b"data: ") for line in sent.splitlines() if line.startswith(b"data: {")]
    return json.loads(as_json(reply(head).body([answer], usage))), [json.loads(line) for line in lines]
