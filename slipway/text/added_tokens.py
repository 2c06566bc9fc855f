"""Tokens that tokenizer_config.json has and tokenizer.json lacks: a fine-tune's beside a base's."""

from collections.abc import Iterator, Mapping
from typing import Any

import tokenizers

from slipway.text.encoder import check_shape, read_encoder

# Read from transformers 5.23, tokenization_utils_tokenizers.py: the order decides the ids of new tokens.
_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_EXTRA = ("extra_special_tokens", "additional_special_tokens")
# A prompt and an answer hold no other role's token, so a new one at the end only needs rows for nothing.
_SERVED = ("bos_token", "eos_token")


def with_added_tokens(definition: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A parsed tokenizer.json with the tokens that only the tokenizer_config.json `config` has.

    Their ids are those that transformers gives them: the vocabulary's, or else the next free ones, whatever
    id the config has. The definition itself where there are none. Raises EngineRefused for what is none.
    """
    check_shape(definition, config)
    listed = {token["content"] for token in definition.get("added_tokens", ())}
    missing = {token.content: token for token in _tokens(config) if token.content not in listed}
    if not missing:
        return definition
    encoder = read_encoder(definition)
    known = encoder.get_vocab(with_added_tokens=True)
    encoder.add_tokens(list(missing.values()))
    found = [
        {"id": index, **_flags(token)}
        for index, token in sorted(encoder.get_added_tokens_decoder().items())
        if token.content in missing
    ]
    unused = {_content(config.get(role)) for role in _ROLES if role not in _SERVED}
    unused -= {_content(config.get(role)) for role in _SERVED}
    while found and found[-1]["content"] in unused and found[-1]["content"] not in known:
        found.pop()
    added = [*definition.get("added_tokens", ()), *found]
    return (
        {**definition, "added_tokens": sorted(added, key=lambda token: token["id"])} if found else definition
    )


def _tokens(config: Mapping[str, Any]) -> Iterator[tokenizers.AddedToken]:
    """Each token that the config names; the first of one content counts."""
    decoder = config.get("added_tokens_decoder")
    named = {_content(config.get(role)) for role in _ROLES}
    entries = decoder.items() if isinstance(decoder, dict) else ()
    for _, entry in sorted((item for item in entries if item[0].isdecimal()), key=lambda item: int(item[0])):
        if content := _content(entry):
            yield _token(entry, special=content in named or bool(entry.get("special")))
    extra = [token for key in _EXTRA for token in _listed(config.get(key))]
    for value in [*(config.get(role) for role in _ROLES), *extra]:
        if _content(value):
            yield _token(value, special=True)


def _token(value: Any, special: bool) -> tokenizers.AddedToken:
    flags = value if isinstance(value, dict) else {}
    names = ("single_word", "lstrip", "rstrip", "normalized")
    given = {name: bool(flags[name]) for name in names if name in flags}
    return tokenizers.AddedToken(_content(value), special=special, **given)


def _flags(token: tokenizers.AddedToken) -> dict[str, Any]:
    return {
        "content": token.content,
        "single_word": token.single_word,
        "lstrip": token.lstrip,
        "rstrip": token.rstrip,
        "normalized": token.normalized,
        "special": token.special,
    }


def _listed(value: Any) -> list[Any]:
    if isinstance(value, dict):  # transformers 5 names them by role
        return list(value.values())
    return value if isinstance(value, list) else []


def _content(value: Any) -> str | None:
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) and text else None
