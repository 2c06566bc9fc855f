"""What the engines of a target cannot do, though the API has a field for it; asked by `gateway.models`."""

from collections.abc import Mapping

from engines.manifest import Manifest
from engines.recipe import Target
from gateway.api.body import GenerationBody
from gateway.api.completions import CompletionRequest
from gateway.errors import NotOffered

# By target and field of a chat: why not, and the way out. 0, false and empty ask for nothing and are taken.
REFUSED: Mapping[Target, Mapping[str, str]] = {
    "tensorrt-llm": {
        "min_p": "TensorRT-LLM's engine model has no input for it; use top_p or top_k",
        "top_logprobs": "TensorRT-LLM tells the log-probabilities of the chosen tokens alone; ask for 0",
    },
}

# What is refused where the model has several end-of-sequence tokens. TensorRT-LLM knows one; the others end
# an answer as stop words.
WITH_SEVERAL_ENDS: Mapping[Target, Mapping[str, str]] = {
    "tensorrt-llm": {"min_tokens": "TensorRT-LLM can keep back one of them; leave it out"},
}


def named(field: str, schema: type[GenerationBody]) -> str:
    """What a chat's field is called in this body: plain completions have one field where chats have two."""
    return "logprobs" if field == "top_logprobs" and issubclass(schema, CompletionRequest) else field


def check(body: GenerationBody, manifest: Manifest) -> None:
    """Raise NotOffered where `body` asks for what the engine cannot do."""
    for field, reason in REFUSED.get(manifest.target, {}).items():
        name = named(field, type(body))
        value = getattr(body, name, None)
        if value:
            raise NotOffered(f"{name} is {value}: {reason}.", name)
    ends = len(manifest.eos_token_ids)
    for field, reason in WITH_SEVERAL_ENDS.get(manifest.target, {}).items():
        value = getattr(body, field, None)
        if value and ends > 1:
            raise NotOffered(
                f"{field} is {value}, but {manifest.name} has {ends} end-of-sequence tokens: {reason}.", field
            )
