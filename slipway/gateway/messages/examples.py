"""Examples of messages."""

from typing import Any

from slipway.gateway.messages.reply import (
    BlockDelta,
    BlockStart,
    BlockStop,
    MessageDelta,
    MessageStart,
    Sign,
)
from slipway.gateway.messages.schema import CountTokensRequest, MessagesRequest
from slipway.gateway.shapes.example import CONVERSATION, MODEL, QUESTION, SHOWN_ID, Events, Example
from slipway.gateway.shapes.message_error import MessageErrorBody

_MESSAGE_USAGE = {"input_tokens": 13, "cache_read_input_tokens": 0, "output_tokens": 8}


def _message(content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, int]) -> dict[str, Any]:
    return {
        "id": f"msg_{SHOWN_ID}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


EXAMPLES = {
    "/v1/messages": Example(
        MessagesRequest,
        {"one answer": QUESTION, "a stream": {**QUESTION, "stream": True}},
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
    "/v1/messages/count_tokens": Example(
        CountTokensRequest,
        {"a conversation": CONVERSATION},
        {"input_tokens": 13},
    ),
}
