"""What to send to each endpoint and what comes back, for people who read /docs; shown by `documentation`."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from slipway.gateway.answers.answer import Piece
from slipway.gateway.api.chat import ChatCompletionRequest
from slipway.gateway.api.chat_reply import ChatCompletionChunk
from slipway.gateway.api.completions import Completion, CompletionRequest
from slipway.gateway.api.error import ErrorBody
from slipway.gateway.api.message_error import MessageErrorBody
from slipway.gateway.api.message_reply import (
    BlockDelta,
    BlockStart,
    BlockStop,
    MessageDelta,
    MessageStart,
    Sign,
)
from slipway.gateway.api.messages import CountTokensRequest, MessagesRequest
from slipway.gateway.api.model_list import ModelBody
from slipway.gateway.api.reply import Head
from slipway.gateway.api.response_object import ResponseObject
from slipway.gateway.api.response_reply import Event, ResponsesReply
from slipway.gateway.api.responses import ResponsesRequest
from slipway.gateway.api.tokens import DetokenizeRequest, TokenizeRequest
from slipway.gateway.api.usage import Usage
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
_SHOWN_ID, _SHOWN_TIME = "0f5754f6fb0d4de0803a7e850465c6ae", 1795599534
_SHOWN_USAGE = {
    "prompt_tokens": 13,
    "completion_tokens": 8,
    "total_tokens": 21,
    "prompt_tokens_details": {"cached_tokens": 0},
}
_MESSAGE_USAGE = {"input_tokens": 13, "cache_read_input_tokens": 0, "output_tokens": 8}


@dataclass(frozen=True, slots=True)
class Events:
    """What an endpoint streams.

    shapes: of its events. error: the shape of an event that ends a stream midway. shown: an example.
    named: events have a name beside their data, which is their type. done: `[DONE]` is the last one.
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


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": f"chatcmpl-{_SHOWN_ID}", "object": "chat.completion.chunk", "created": _SHOWN_TIME}
    return {**head, "model": MODEL, "choices": [choice]}


def _completion(text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    head = {"id": f"cmpl-{_SHOWN_ID}", "object": "text_completion", "created": _SHOWN_TIME}
    return {**head, "model": MODEL, "choices": [choice]}


def _message(content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, int]) -> dict[str, Any]:
    return {
        "id": f"msg_{_SHOWN_ID}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


_INPUT = {"input": "What is the capital of France?", "max_output_tokens": 32}


def _response() -> tuple[dict[str, Any], Events]:
    """A whole response and its events, made as the endpoint makes them: too large to be written out."""
    body = ResponsesRequest.model_validate({"model": MODEL, **_INPUT})
    head = Head(f"resp_{_SHOWN_ID}", MODEL, _SHOWN_TIME)
    reply = ResponsesReply(ResponseObject.begun(head, body), lambda ended, turns: None)
    usage = Usage.of(13, 8, [0])
    pieces = (Piece((AnswerText("The capital of France is Paris."),), 8), Piece((), 0, "stop"))
    sent = reply.opening(1) + b"".join(reply.piece(0, piece) for piece in pieces) + reply.closing(usage)
    events = [json.loads(line[len("data: ") :]) for line in sent.splitlines() if line.startswith(b"data: ")]
    return events[-1]["response"], Events((Event,), Event, events, named=True, done=False)


_CONVERSATION = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
_QUESTION = {**_CONVERSATION, "max_tokens": 32}
_BEGINNING = {"prompt": "The capital of France is", "max_tokens": 8}
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_CARD = {"id": MODEL, "object": "model", "created": _SHOWN_TIME, "owned_by": "slipway", "max_model_len": 8192}

EXAMPLES = {
    "/v1/chat/completions": Example(
        ChatCompletionRequest,
        {
            "one answer": _QUESTION,
            "a stream": {**_QUESTION, "stream": True, "stream_options": {"include_usage": True}},
            "with log-probabilities": {**_QUESTION, "temperature": 0, "logprobs": True, "top_logprobs": 2},
            "an answer by a schema": {
                **_QUESTION,
                "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": _CITY}},
            },
        },
        {
            "id": f"chatcmpl-{_SHOWN_ID}",
            "object": "chat.completion",
            "created": _SHOWN_TIME,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": "The capital of France is Paris.",
                        "refusal": None,
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": _SHOWN_USAGE,
        },
        Events(
            (ChatCompletionChunk,),
            ErrorBody,
            [
                _chunk({"role": "assistant", "content": ""}),
                _chunk({"content": "The capital of France is Paris."}),
                _chunk({}, "stop"),
            ],
        ),
    ),
    "/v1/completions": Example(
        CompletionRequest,
        {
            "one answer": _BEGINNING,
            "a stream": {**_BEGINNING, "stream": True},
            "two prompts": {"prompt": ["1, 2, 3,", "a, b, c,"], "max_tokens": 8},
        },
        {**_completion(" Paris.", "stop"), "usage": _SHOWN_USAGE},
        Events((Completion,), ErrorBody, [_completion(" Paris."), _completion("", "stop")]),
    ),
    "/v1/responses": Example(
        ResponsesRequest,
        {"one answer": _INPUT, "a stream": {**_INPUT, "stream": True}},
        *_response(),
    ),
    "/v1/messages": Example(
        MessagesRequest,
        {"one answer": _QUESTION, "a stream": {**_QUESTION, "stream": True}},
        _message([{"type": "text", "text": "The capital of France is Paris."}], "end_turn", _MESSAGE_USAGE),
        Events(
            (MessageStart, BlockStart, BlockDelta, BlockStop, MessageDelta, Sign),
            MessageErrorBody,
            [
                {
                    "type": "message_start",
                    "message": _message([], None, {"input_tokens": 13, "output_tokens": 0}),
                },
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": "The capital of France is Paris."},
                },
                {"type": "content_block_stop", "index": 0},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                    "usage": _MESSAGE_USAGE,
                },
                {"type": "message_stop"},
            ],
            named=True,
            done=False,
        ),
    ),
    "/v1/responses/input_tokens": Example(
        ResponsesRequest,
        {"a question": _INPUT},
        {"object": "response.input_tokens", "input_tokens": 13},
    ),
    "/v1/messages/count_tokens": Example(
        CountTokensRequest,
        {"a conversation": _CONVERSATION},
        {"input_tokens": 13},
    ),
    "/tokenize": Example(
        TokenizeRequest,
        {
            "a prompt": {"prompt": "The capital of France is"},
            "a conversation": _CONVERSATION,
        },
        {"count": 5, "max_model_len": 8192, "tokens": [504, 3575, 282, 4649, 314], "token_strs": None},
    ),
    "/detokenize": Example(
        DetokenizeRequest,
        {"tokens": {"tokens": [504, 3575, 282, 4649, 314]}},
        {"prompt": "The capital of France is"},
    ),
    "/models/load": Example(ModelBody, {"a model": {}}, _CARD),
    "/models/unload": Example(ModelBody, {"a model": {}}, _CARD),
}
