"""Special tokens among stop strings: the text of an answer never has them."""

from slipway.contract.errors import InvalidRequest
from slipway.text.tokenizer import Tokenizer


def stop_token(text: str, tokenizer: Tokenizer, field: str) -> int | None:
    """The id of the special token that the stop string `text` is; None for an ordinary string.

    field: has the string. Raises InvalidRequest where the string is more than such a token: no answer has it.
    """
    within = ""
    for token, name in tokenizer.vocabulary.special_bytes.items():
        if name.decode() == text:
            return token
        if name.decode() in text:
            within = max(within, name.decode(), key=len)
    if within:
        raise InvalidRequest(
            f"{field} has {text!r}, which no answer can have: {within} is a special token, and text never "
            f"shows it. Give {within} alone, and the answer ends at the token.",
            field,
        )
    return None
