"""Examples of plain completions."""

from typing import Any

from slipway.gateway.completions.reply import Completion
from slipway.gateway.completions.schema import CompletionRequest
from slipway.gateway.shapes.error import ErrorBody
from slipway.gateway.shapes.example import MODEL, SHOWN_ID, SHOWN_TIME, SHOWN_USAGE, Events, Example

_BEGINNING = {"prompt": "The capital of France is", "max_tokens": 8}


def _completion(text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    head = {"id": f"cmpl-{SHOWN_ID}", "object": "text_completion", "created": SHOWN_TIME}
    return {**head, "model": MODEL, "choices": [choice]}


EXAMPLES = {
    "/v1/completions": Example(
        CompletionRequest,
        {
            "one answer": _BEGINNING,
            "a stream": {**_BEGINNING, "stream": True},
            "two prompts": {"prompt": ["1, 2, 3,", "a, b, c,"], "max_tokens": 8},
        },
        {**_completion(" Paris.", "stop"), "usage": SHOWN_USAGE},
        Events((Completion,), ErrorBody, [_completion(" Paris."), _completion("", "stop")]),
    ),
}
