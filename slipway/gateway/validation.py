"""From bytes to what an engine is asked: pure functions, called by `gateway.app` and `prompter`."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from slipway.contract.errors import ContextLengthExceeded, InvalidRequest
from slipway.contract.generation import SamplingParams
from slipway.contract.manifest import Manifest
from slipway.gateway.api.body import GenerationBody
from slipway.gateway.api.chat import ChatCompletionRequest
from slipway.gateway.api.completions import CompletionRequest
from slipway.gateway.bounds import MAX_CHOICES, check_stop_length
from slipway.gateway.conversation import check_conversation, check_tools
from slipway.gateway.errors import (
    MalformedBody,
    MissingField,
    NotOffered,
    UnknownField,
    UnsupportedMediaType,
    WrongType,
)
from slipway.gateway.grammars.structure import field as field_of
from slipway.gateway.grammars.structure import grammar

_SHOWN_INPUT = 60
_LONGEST_NAME = 40  # that is compared with those there are
_MOST_ERRORS = 100

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

    Raises InvalidRequest, in the subclass that tells the kind, for the first field that is wrong.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        if error.error_count() > _MOST_ERRORS:
            # Listing them would hold up every stream for as long as it takes.
            raise InvalidRequest(
                f"The body has {error.error_count()} errors; it is of another API."
            ) from None
        raise _sentence(error.errors(include_url=False)[0], schema) from None


def check_options(body: GenerationBody) -> None:
    """Raise InvalidRequest where two fields contradict each other."""
    if body.stream_options is not None and not body.stream:
        raise InvalidRequest("stream_options needs stream: true.", "stream_options")
    if body.with_running_usage and not body.with_usage:
        raise InvalidRequest(
            "stream_options.continuous_usage_stats needs include_usage: true.",
            "stream_options.continuous_usage_stats",
        )
    if (
        isinstance(body, ChatCompletionRequest)
        and body.max_tokens is not None
        and body.max_completion_tokens is not None
        and body.max_tokens != body.max_completion_tokens
    ):
        raise InvalidRequest(
            f"max_tokens is {body.max_tokens} and max_completion_tokens is {body.max_completion_tokens}; "
            "they mean the same, give one of them.",
            "max_completion_tokens",
        )
    if isinstance(body, ChatCompletionRequest):
        check_conversation(body.messages)
        check_tools(body)
    if isinstance(body, ChatCompletionRequest) and body.continue_final_message:
        _check_continuation(body)
    if isinstance(body, ChatCompletionRequest) and body.top_logprobs and not body.logprobs:
        raise InvalidRequest("top_logprobs needs logprobs: true.", "top_logprobs")
    if isinstance(body, CompletionRequest) and body.best_of is not None:
        _check_best_of(body.best_of, body.n or 1, bool(body.stream))
    if isinstance(body, CompletionRequest):
        _check_prompts(body)


def _check_prompts(body: CompletionRequest) -> None:
    if len(body.prompts) * body.candidates > MAX_CHOICES:
        raise InvalidRequest(
            f"prompt holds {len(body.prompts)} prompts, each for {body.candidates} answers, but a request "
            f"has {MAX_CHOICES} answers at most; send several requests.",
            "prompt",
        )
    if body.echo and body.logprobs is not None:
        raise NotOffered(
            "echo is true and logprobs is given, but the engines here tell nothing of a prompt's tokens; "
            "leave one of them out.",
            "echo",
        )


def _check_continuation(body: ChatCompletionRequest) -> None:
    if body.add_generation_prompt:
        raise InvalidRequest(
            "continue_final_message and add_generation_prompt are both true, but the answer goes on with the "
            "last message or begins a turn of its own; give one of them.",
            "continue_final_message",
        )
    if body.messages[-1].role != "assistant":
        raise InvalidRequest(
            f"continue_final_message is true, but the last message is the {body.messages[-1].role}'s, and "
            "the model goes on only with its own; put the beginning of its answer last, as the assistant's.",
            "continue_final_message",
        )


def _check_best_of(best_of: int, n: int, stream: bool) -> None:
    if best_of < n:
        raise InvalidRequest(
            f"best_of is {best_of}, but n is {n}: the answers are chosen among best_of; give at least n.",
            "best_of",
        )
    if best_of > n and stream:
        raise InvalidRequest(
            f"best_of is {best_of} and stream is true, but which answers are the best is known at their end; "
            f"leave out stream, or ask for all of them with n: {best_of}.",
            "best_of",
        )


def stop_strings(body: GenerationBody, manifest: Manifest) -> tuple[str, ...]:
    """What ends the answer: the request's strings, then the recipe's."""
    asked = [body.stop] if isinstance(body.stop, str) else body.stop or []
    check_stop_length(asked)
    return tuple(dict.fromkeys([*asked, *manifest.chat.stop]))


def check_ids(ids: Sequence[int], manifest: Manifest, field: str) -> None:
    """Raise InvalidRequest for a token id, in this field of the body, that the engine does not have."""
    other = next((token for token in ids if token >= manifest.vocab_size), None)
    if other is not None:
        raise InvalidRequest(
            f"{field} holds token id {other}, but the vocabulary of {manifest.name} ends at "
            f"{manifest.vocab_size - 1}.",
            field,
        )


def sampling(
    body: GenerationBody, prompt_tokens: int, manifest: Manifest, prompt_field: str = "messages"
) -> SamplingParams:
    """How the answer is generated, with every default filled in.

    prompt_field: where in the body the prompt is.
    Raises ContextLengthExceeded when the prompt, or the prompt and the tokens asked for, do not fit.
    """
    limits = manifest.limits
    if prompt_tokens == 0:
        raise InvalidRequest(f"{prompt_field} holds no token to go on from; write something.", prompt_field)
    if prompt_tokens > limits.max_input_len:
        raise ContextLengthExceeded(
            f"The prompt has {prompt_tokens} tokens, and {manifest.name} takes "
            f"{limits.max_input_len} at most (prompt and answer together: {limits.max_seq_len}); shorten it.",
            prompt_field,
        )
    left = limits.max_seq_len - prompt_tokens
    field, asked = _max_tokens(body)
    if asked is not None and asked > left:
        raise ContextLengthExceeded(
            f"{field} is {asked}, but the prompt's {prompt_tokens} tokens leave {left} of the context of "
            f"{limits.max_seq_len} tokens; ask for that many at most.",
            field,
        )
    most = left if asked is None else asked
    if body.min_tokens is not None and body.min_tokens > most:
        raise InvalidRequest(
            f"min_tokens is {body.min_tokens}, but the answer has {most} at most; ask for fewer.",
            "min_tokens",
        )
    shape = grammar(body)
    if shape is not None and body.ignore_eos:
        raise InvalidRequest(
            f"ignore_eos is true, but {field_of(body)} says where the answer ends; leave one of them out.",
            "ignore_eos",
        )
    # The likeliest tokens that together have no probability: the likeliest alone.
    top_k = 1 if body.top_p == 0 else body.top_k or 0
    return SamplingParams(
        max_tokens=most,
        min_tokens=body.min_tokens or 0,
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=body.top_p or 1.0,
        top_k=top_k if 0 < top_k < manifest.vocab_size else 0,
        min_p=body.min_p or 0.0,
        repetition_penalty=1.0 if body.repetition_penalty is None else body.repetition_penalty,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=_logit_bias(body, manifest),
        # OpenAI's seeds are signed; engines take the same 64 bits unsigned.
        seed=None if body.seed is None else body.seed % 2**64,
        ignore_eos=bool(body.ignore_eos),
        log_probs=body.likeliest is not None,
        top_log_probs=body.likeliest or 0,
        grammar=shape,
    )


def _logit_bias(body: GenerationBody, manifest: Manifest) -> tuple[tuple[int, float], ...]:
    bias = {int(token): value for token, value in (body.logit_bias or {}).items()}
    check_ids(list(bias), manifest, "logit_bias")
    return tuple(bias.items())


def _max_tokens(body: GenerationBody) -> tuple[str, int | None]:
    if isinstance(body, ChatCompletionRequest) and body.max_completion_tokens is not None:
        return "max_completion_tokens", body.max_completion_tokens
    return "max_tokens", body.max_tokens


def _sentence(detail: Mapping[str, Any], schema: type[BaseModel]) -> InvalidRequest:
    """One sentence for pydantic's error, with `param` as the client wrote it: messages[0].content."""
    param = _param(detail["loc"])
    where = param or "The body"
    reason = _reason(detail)
    match detail["type"]:
        case "json_invalid":
            return MalformedBody(f"The body is not JSON: {detail['ctx']['error']}.")
        case "extra_forbidden" if len(detail["loc"]) == 1:
            hint = _nearest(where, schema) or f"its fields are: {', '.join(schema.model_fields)}."
            return UnknownField(f"{where} is not a field of this endpoint; {hint}", param)
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


def _nearest(name: str, schema: type[BaseModel]) -> str | None:
    near = get_close_matches(name, schema.model_fields, n=1) if len(name) <= _LONGEST_NAME else []
    return f"{near[0]} is." if near else None


def _reason(detail: Mapping[str, Any]) -> str:
    """Pydantic's message from the verb on: 'must be less than or equal to 2'."""
    message: str = detail["msg"]
    for noun in ("Input", "String", "List"):
        message = message.replace(f"{noun} should ", "must ")
    return message.replace(" after validation", "").split(", not ")[0]


def _param(location: Sequence[str | int]) -> str | None:
    """Pydantic's location in the notation of OpenAI's errors, without union tags and "[key]" for keys."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("(") and part != "[key]":
            path += f".{part}" if path else part
    return path or None


def _shown(value: object) -> str:
    """A client's value as it may stand in a sentence: short."""
    text = repr(value)
    return text if len(text) <= _SHOWN_INPUT else f"{text[:_SHOWN_INPUT]}…"
