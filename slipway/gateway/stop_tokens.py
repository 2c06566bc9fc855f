"""The tokens that end an answer because the client asks for it."""

from slipway.contract.manifest import Manifest
from slipway.gateway.query import Query
from slipway.gateway.validation import check_ids
from slipway.text.stop_tokens import stop_token
from slipway.text.tokenizer import Tokenizer


def stop_tokens(query: Query, manifest: Manifest, tokenizer: Tokenizer) -> dict[int, str]:
    """By id, their texts: those of stop_token_ids, and the special tokens that `stop` names.

    The engine's own ends of sequence are left out where they count anyway. Raises InvalidRequest for an id
    that the engine does not have, and for a stop string that no answer can have.
    """
    check_ids(query.stop_token_ids, manifest, query.named("stop_token_ids"))
    found = {token: tokenizer.spell(token) for token in query.stop_token_ids}
    for text in query.stop:
        token = stop_token(text, tokenizer, query.named("stop"))
        if token is not None:
            found[token] = text
    own = () if query.ignore_eos else manifest.eos_token_ids
    return {token: text for token, text in found.items() if token not in own}
