"""What the engines of a target cannot do, though the API has a field for it; asked by `prompter`.

A field that would change the answer and has no effect there is refused, never taken in silence.
"""

from slipway.contract.manifest import Manifest
from slipway.gateway.api.body import GenerationBody
from slipway.gateway.api.chat import ChatCompletionRequest
from slipway.gateway.api.completions import CompletionRequest
from slipway.gateway.errors import NotOffered

_LONGEST_SHOWN = 60


def named(field: str, schema: type[GenerationBody]) -> str:
    """What a chat's field is called in this body: plain completions have one field where chats have two."""
    return "logprobs" if field == "top_logprobs" and issubclass(schema, CompletionRequest) else field


def check(body: GenerationBody, manifest: Manifest) -> None:
    """Raise NotOffered, with field, value and way out, where `body` asks for what the engine cannot do."""
    target = manifest.target
    for field, reason in target.refuses.items():
        name = named(field, type(body))
        if _asks(body, name, whole=field == name):
            shown = f"{name} is {_shown(body, name)}, which {manifest.name} cannot do"
            raise NotOffered(f"{shown}: {reason}.", name)
    for field, limit in target.limits.items():
        if limit.highest < (getattr(body, field) or 0) < manifest.vocab_size:
            raise NotOffered(f"{field} is {getattr(body, field)}: {limit.reason}.", field)
    ends = len(manifest.eos_token_ids)
    for field, reason in target.refuses_with_several_ends.items():
        value = getattr(body, field, None)
        if value and ends > 1:
            raise NotOffered(
                f"{field} is {value}, but {manifest.name} has {ends} end-of-sequence tokens: {reason}.", field
            )


def _asks(body: GenerationBody, field: str, whole: bool) -> bool:
    """Whether the field asks for something that changes the answer.

    whole: it is refused as such; else a 0 of it, which asks for what a chat's other field does, is taken.
    """
    value = getattr(body, field, None)
    if value is None:
        return False
    match field:
        case "seed":
            return body.temperature != 0
        case "best_of":
            return body.candidates > (body.n or 1)
        case "repetition_penalty":
            return bool(value != 1)
        case "response_format":
            return bool(value.type != "text")
        case "tool_choice":
            return isinstance(body, ChatCompletionRequest) and body.enforces_calls
        case "prompt":
            assert isinstance(body, CompletionRequest)
            return not all(isinstance(prompt, str) for prompt in body.prompts)
        case "add_special_tokens":
            return value is False
        case "logprobs" if whole:
            return body.likeliest is not None
    return bool(value)


def _shown(body: GenerationBody, field: str) -> str:
    value = getattr(body, field)
    shown = value.model_dump_json(exclude_unset=True) if hasattr(value, "model_dump_json") else str(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
