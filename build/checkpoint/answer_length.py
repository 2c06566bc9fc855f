"""How long answers are by default."""

from pathlib import Path

from build.checkpoint import json_file
from build.checkpoint.ends import GENERATION
from slipway.contract.errors import CheckpointError
from slipway.contract.recipe import DEFAULT_MAX_TOKENS, DEFAULT_MAX_TOKENS_WITH_THOUGHTS
from slipway.text.reasoning import thinks


def default_max_tokens(checkpoint: Path, template: str | None) -> int:
    """Tokens of an answer when neither the request nor the recipe says it.

    checkpoint: the folder. template: the chat template.
    Raises CheckpointError when max_new_tokens in generation_config.json is no number of tokens.
    """
    path = checkpoint / GENERATION
    given = json_file.read(path).get("max_new_tokens") if path.is_file() else None
    if given is None:
        return DEFAULT_MAX_TOKENS_WITH_THOUGHTS if thinks(template or "") else DEFAULT_MAX_TOKENS
    if type(given) is not int or given < 1:
        raise CheckpointError(
            f"{path}: max_new_tokens {given!r} is no number of tokens; give one above 0, or remove it."
        )
    return given
