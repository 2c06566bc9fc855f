"""Examples of /tokenize and /detokenize."""

from slipway.gateway.shapes.example import CONVERSATION, Example
from slipway.gateway.tokens.schema import DetokenizeRequest, TokenizeRequest

EXAMPLES = {
    "/tokenize": Example(
        TokenizeRequest,
        {
            "a prompt": {"prompt": "The capital of France is"},
            "a conversation": CONVERSATION,
        },
        {"count": 5, "max_model_len": 8192, "tokens": [504, 3575, 282, 4649, 314], "token_strs": None},
    ),
    "/detokenize": Example(
        DetokenizeRequest,
        {"tokens": {"tokens": [504, 3575, 282, 4649, 314]}},
        {"prompt": "The capital of France is"},
    ),
}
