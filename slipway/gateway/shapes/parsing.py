"""From the bytes of a body to its schema, with an error that names the client's field."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from slipway.contract.errors import InvalidRequest
from slipway.gateway.errors import (
    MalformedBody,
    MissingField,
    NotOffered,
    UnknownField,
    UnsupportedMediaType,
    WrongType,
)

_SHOWN_INPUT = 60
_MAX_NAME_LENGTH = 40  # of a field that is compared with those there are
_MAX_ERRORS = 100
# The names that other servers and libraries have for a field here, which differ too much to be found.
_LENGTHS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
_OTHER_NAMES = dict.fromkeys(("max_length", "max_new_tokens", "n_predict", "num_predict"), _LENGTHS)
# vLLM's older names of what structured_outputs has.
_GUIDED = {
    "guided_json": '{"json": …}',
    "guided_regex": '{"regex": …}',
    "guided_choice": '{"choice": …}',
    "guided_grammar": '{"grammar": …}',
}

B = TypeVar("B", bound=BaseModel)


def check_media_type(content_type: str | None, encoding: str | None = None) -> None:
    """Raise UnsupportedMediaType unless the body is declared as JSON, and not as compressed."""
    declared = (content_type or "").split(";")[0].strip().lower()
    if declared != "application/json":
        raise UnsupportedMediaType(
            f"The body is declared as {declared or 'nothing'}; send it with `Content-Type: application/json`."
        )
    packed = (encoding or "identity").strip().lower()
    if packed != "identity":
        raise UnsupportedMediaType(
            f"The Content-Encoding is {packed[:_SHOWN_INPUT]}, and this server unpacks nothing; send the "
            "JSON as it is, without that header."
        )


def parse(body: bytes, schema: type[B]) -> B:
    """Read a JSON body.

    Raises InvalidRequest for the first field that is wrong, in the subclass for what is wrong.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        if error.error_count() > _MAX_ERRORS:
            # Listing them would hold up every stream for as long as it takes.
            raise InvalidRequest(
                f"The body has {error.error_count()} errors; it is of another API."
            ) from None
        raise _sentence(error.errors(include_url=False)[0], schema) from None


def _sentence(detail: Mapping[str, Any], schema: type[BaseModel]) -> InvalidRequest:
    """One sentence for pydantic's error. Its `param` is as the client wrote it: messages[0].content."""
    param = _param(detail["loc"])
    where = param or "The body"
    reason = _reason(detail)
    match detail["type"]:
        case "json_invalid":
            return MalformedBody(f"The body is not JSON: {detail['ctx']['error']}.")
        case "extra_forbidden" if len(detail["loc"]) == 1:
            return UnknownField(f"{where} is not a field of this endpoint; {_way_out(where, schema)}.", param)
        case "extra_forbidden":
            return UnknownField(f"{where} is not a field that this endpoint knows; leave it out.", param)
        case "missing":
            return MissingField(f"{where} is missing.", param)
        case "not_offered":
            return NotOffered(f"{where} is {_shown(detail['input'])}: {reason}.", param)
        case "too_long":
            entries, most = len(detail["input"]), detail["ctx"]["max_length"]
            return InvalidRequest(f"{where} has {entries} entries; the most is {most}.", param)
        case kind if kind.endswith("_type"):
            return WrongType(f"{where} {reason}, not {_shown(detail['input'])}.", param)
    return InvalidRequest(f"{where} {reason}, not {_shown(detail['input'])}.", param)


def _way_out(name: str, schema: type[BaseModel]) -> str:
    """What to send instead of a field that the body does not have."""
    instead = next((each for each in _OTHER_NAMES.get(name, ()) if each in schema.model_fields), None)
    if name in _GUIDED and "structured_outputs" in schema.model_fields:
        return f"give structured_outputs with {_GUIDED[name]}"
    if instead is not None:
        return f"{instead} is"
    near = get_close_matches(name, schema.model_fields, n=1) if len(name) <= _MAX_NAME_LENGTH else []
    return f"{near[0]} is" if near else "leave it out; the page /docs lists the fields"


def _reason(detail: Mapping[str, Any]) -> str:
    """Pydantic's message from the verb on: 'must be less than or equal to 2'."""
    message: str = detail["msg"]
    for noun in ("Input", "String", "List"):
        message = message.replace(f"{noun} should ", "must ")
    return message.replace(" after validation", "").split(", not ")[0]


def _param(location: Sequence[str | int]) -> str | None:
    """Pydantic's location in the notation of OpenAI's errors, without tags of unions and "[key]"."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("(") and part != "[key]":
            path += f".{part}" if path else part
    return path or None


def _shown(value: object) -> str:
    """A client's value, cut to fit into a sentence."""
    text = repr(value)
    return text if len(text) <= _SHOWN_INPUT else f"{text[:_SHOWN_INPUT]}…"
