"""Examples of responses."""

import json
from typing import Any

from slipway.gateway.answers.answer import Piece
from slipway.gateway.responses.object import ResponseObject
from slipway.gateway.responses.reply import ResponseEvent, ResponsesReply
from slipway.gateway.responses.schema import ResponsesRequest
from slipway.gateway.shapes.example import MODEL, SHOWN_ID, SHOWN_TIME, Events, Example
from slipway.gateway.shapes.reply import Head
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerText

_INPUT = {"input": "What is the capital of France?", "max_output_tokens": 32}


def _response() -> tuple[dict[str, Any], Events]:
    """A whole response and its events, made as the endpoint makes them: too large to be written out."""
    body = ResponsesRequest.model_validate({"model": MODEL, **_INPUT})
    head = Head(f"resp_{SHOWN_ID}", MODEL, SHOWN_TIME)
    reply = ResponsesReply(ResponseObject.started(head, body), lambda ended, messages: None)
    usage = Usage.of(13, 8, [0])
    pieces = (Piece((AnswerText("The capital of France is Paris."),), 8), Piece((), 0, "stop"))
    sent = reply.opening(1) + b"".join(reply.piece(piece) for piece in pieces) + reply.closing(usage)
    events = [json.loads(line[len("data: ") :]) for line in sent.splitlines() if line.startswith(b"data: ")]
    return events[-1]["response"], Events((ResponseEvent,), ResponseEvent, events, named=True, done=False)


EXAMPLES = {
    "/v1/responses": Example(
        ResponsesRequest,
        {"one answer": _INPUT, "a stream": {**_INPUT, "stream": True}},
        *_response(),
    ),
    "/v1/responses/input_tokens": Example(
        ResponsesRequest,
        {"a question": _INPUT},
        {"object": "response.input_tokens", "input_tokens": 13},
    ),
}
