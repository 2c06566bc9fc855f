"""What the engines of a target cannot do, although an API has a field for it.

A field that would change the answer and has no effect there is refused, never ignored.
"""

from collections.abc import Callable, Mapping

from slipway.contract.manifest import Manifest
from slipway.gateway.errors import NotOffered
from slipway.gateway.query import Conversation, Prompts, Query

# A value that is too long, or not plain enough, to be quoted.
_GIVEN = "given"


def _seed(query: Query) -> object:
    return None if query.temperature == 0 or query.seed is None else str(query.seed)


def _repetition_penalty(query: Query) -> object:
    return None if query.repetition_penalty == 1 else query.repetition_penalty


def _top_k(query: Query) -> object:
    return query.top_k if query.top_k > 0 else None


def _logprobs(query: Query) -> object:
    return None if query.logprobs is None else _GIVEN


def _best_of(query: Query) -> object:
    return query.best_of if query.candidates > query.n else None


def _tool_choice(query: Query) -> object:
    return isinstance(query.prompt, Conversation) and query.prompt.must_call and _GIVEN


def _prompt(query: Query) -> object:
    if isinstance(query.prompt, Prompts) and not all(isinstance(text, str) for text in query.prompt.texts):
        return _GIVEN
    return None


def _special_tokens(query: Query) -> object:
    return "false" if isinstance(query.prompt, Prompts) and not query.prompt.special_tokens else None


# By field: what a query asks for, as an error quotes it; None or a false value where it asks for nothing.
ASKED: Mapping[str, Callable[[Query], object]] = {
    "seed": _seed,
    "presence_penalty": lambda query: query.presence_penalty,
    "frequency_penalty": lambda query: query.frequency_penalty,
    "repetition_penalty": _repetition_penalty,
    "min_p": lambda query: query.min_p,
    "top_k": _top_k,
    "logit_bias": lambda query: query.logit_bias and _GIVEN,
    "min_tokens": lambda query: query.min_tokens,
    "ignore_eos": lambda query: query.ignore_eos and "true",
    "logprobs": _logprobs,
    "top_logprobs": lambda query: query.logprobs,
    "response_format": lambda query: query.grammar and _GIVEN,
    "tool_choice": _tool_choice,
    "best_of": _best_of,
    "prompt": _prompt,
    "add_special_tokens": _special_tokens,
}


def check_capabilities(query: Query, manifest: Manifest) -> None:
    """Raise NotOffered, with field, value and way out, where `query` asks for what the engine cannot do."""
    target, ends = manifest.target, len(manifest.eos_token_ids)
    for field, reason in target.refuses.items():
        asked, name = ASKED[field](query), query.named(field)
        if asked:
            raise NotOffered(f"{name} is {asked}, which {manifest.name} cannot do: {reason}.", name)
    for field, limit in target.limits.items():
        asked, name = ASKED[field](query), query.named(field)
        if isinstance(asked, int) and limit.highest < asked < manifest.vocab_size:
            raise NotOffered(f"{name} is {asked}: {limit.reason}.", name)
    for field, reason in target.refuses_with_several_ends.items():
        asked, name = ASKED[field](query), query.named(field)
        if asked and ends > 1:
            raise NotOffered(
                f"{name} is {asked}, but {manifest.name} has {ends} end-of-sequence tokens: {reason}.", name
            )
