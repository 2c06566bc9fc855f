"""The `tokenizers` library's reading of a tokenizer.json."""

import json
from collections.abc import Mapping
from typing import Any

import tokenizers

from slipway.contract.errors import EngineRefused


def read_encoder(definition: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """From the parsed file. Raises EngineRefused when it describes no tokenizer."""
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(definition))
    except Exception as error:  # noqa: BLE001 - the library raises nothing more specific
        raise EngineRefused(
            f"tokenizer.json describes no tokenizer ({error}); copy or save it again."
        ) from None


def check_shape(definition: Any, config: Any) -> None:
    """Raise EngineRefused unless the parsed tokenizer.json and tokenizer_config.json have what is read here.

    The library checks the rest.
    """
    if not isinstance(definition, dict) or "model" not in definition:
        raise EngineRefused("tokenizer.json describes no tokenizer (it has no model); copy or save it again.")
    added = definition.get("added_tokens", [])
    if not isinstance(added, list) or not all(map(_is_added_token, added)):
        raise EngineRefused(
            "tokenizer.json describes no tokenizer (added_tokens are no tokens); copy or save it again."
        )
    if not isinstance(config, dict):
        raise EngineRefused("tokenizer_config.json is not a JSON object; copy or save it again.")


def _is_added_token(value: Any) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("content"), str) and isinstance(value.get("id"), int)
    )
