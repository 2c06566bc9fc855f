"""Examples of chats."""

from typing import Any

from slipway.gateway.chat.reply import ChatCompletionChunk
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.shapes.error import ErrorBody
from slipway.gateway.shapes.example import MODEL, QUESTION, SHOWN_ID, SHOWN_TIME, SHOWN_USAGE, Events, Example

_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": f"chatcmpl-{SHOWN_ID}", "object": "chat.completion.chunk", "created": SHOWN_TIME}
    return {**head, "model": MODEL, "choices": [choice]}


EXAMPLES = {
    "/v1/chat/completions": Example(
        ChatCompletionRequest,
        {
            "one answer": QUESTION,
            "a stream": {**QUESTION, "stream": True, "stream_options": {"include_usage": True}},
            "with log-probabilities": {**QUESTION, "temperature": 0, "logprobs": True, "top_logprobs": 2},
            "an answer by a schema": {
                **QUESTION,
                "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": _CITY}},
            },
        },
        {
            "id": f"chatcmpl-{SHOWN_ID}",
            "object": "chat.completion",
            "created": SHOWN_TIME,
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
            "usage": SHOWN_USAGE,
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
}
