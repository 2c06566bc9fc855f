"""What the engines of a target cannot do, though the API has a field for it; asked by `gateway.models`."""

from collections.abc import Mapping

from engines.errors import InvalidRequest
from engines.manifest import Manifest
from engines.recipe import Target
from gateway.api.body import GenerationBody
from gateway.errors import NotOffered

_CHOSEN_ALONE = "TensorRT-LLM's engines tell the log-probabilities of the chosen tokens alone"

# By target and field: why not, and the way out. 0, false and empty ask for nothing and are taken.
REFUSED: Mapping[Target, Mapping[str, str]] = {
    "tensorrt-llm": {
        "min_p": "TensorRT-LLM's engine model has no input for it; use top_p or top_k",
        "top_logprobs": f"{_CHOSEN_ALONE}; leave it out",
        "logprobs": f"{_CHOSEN_ALONE}; ask for 0, which tells those",
    },
}


def check(body: GenerationBody, manifest: Manifest) -> None:
    """Raise NotOffered or InvalidRequest where `body` asks for what the engine cannot do."""
    for field, reason in REFUSED.get(manifest.target, {}).items():
        value = getattr(body, field, None)
        # A chat's `logprobs: true` asks for the chosen tokens; a completion's is the number of others.
        if value and value is not True:
            raise NotOffered(f"{field} is {value}: {reason}.", field)
    if body.min_tokens and manifest.target == "tensorrt-llm" and len(manifest.eos_token_ids) > 1:
        # Upstream keeps back one end-of-sequence token so long; the others end an answer as stop words.
        raise InvalidRequest(
            f"min_tokens is {body.min_tokens}, but {manifest.name} has {len(manifest.eos_token_ids)} "
            "end-of-sequence tokens, of which TensorRT-LLM can keep back one; leave it out.",
            "min_tokens",
        )
