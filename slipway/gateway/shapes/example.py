"""Examples of requests and answers for the OpenAPI document."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

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
SHOWN_ID, SHOWN_TIME = "0f5754f6fb0d4de0803a7e850465c6ae", 1795599534
SHOWN_USAGE = {
    "prompt_tokens": 13,
    "completion_tokens": 8,
    "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 0},
}
CONVERSATION = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
QUESTION = {**CONVERSATION, "max_tokens": 32}


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
