"""What the engines of a target cannot do, although an API has a field for it.

A field that would change the answer and has no effect there is refused, never ignored.
"""

from collections.abc import Callable, Mapping

from slipway.contract.manifest import Manifest
from slipway.gateway.errors import NotOffered
from slipway.gateway.query import Conversation, Prompts, Query

# Stands for a value that is too long, or not plain enough, to be quoted.
_GIVEN = "given"


def _prompt(query: Query) -> object:
    texts = query.prompt.texts if isinstance(query.prompt, Prompts) else ()
    return _GIVEN if any(not isinstance(text, str) for text in texts) else None


# By field: what a query asks for, as an error quotes it; a false value where it asks for nothing.
ASKED: Mapping[str, Callable[[Query], object]] = {
    "seed": lambda query: None if not query.temperature or query.seed is None else str(query.seed),
    "presence_penalty": lambda query: query.presence_penalty,
    "frequency_penalty": lambda query: query.frequency_penalty,
    "repetition_penalty": lambda query: query.repetition_penalty != 1 and query.repetition_penalty,
    "min_p": lambda query: query.min_p,
    "top_k": lambda query: max(0, query.top_k),
    "logit_bias": lambda query: query.logit_bias and _GIVEN,
    "min_tokens": lambda query: query.min_tokens,
    "ignore_eos": lambda query: query.ignore_eos and "true",
    "logprobs": lambda query: query.logprobs is not None and _GIVEN,
    "top_logprobs": lambda query: query.logprobs,
    "prompt_logprobs": lambda query: query.prompt_logprobs is not None and _GIVEN,
    "max_tokens": lambda query: query.max_tokens == 0 and "0",
    "response_format": lambda query: query.grammar and _GIVEN,
    "tool_choice": lambda query: isinstance(query.prompt, Conversation) and query.prompt.must_call and _GIVEN,
    "best_of": lambda query: query.candidates > query.n and query.best_of,
    "prompt": _prompt,
    "bad_words": lambda query: query.bad_words and _GIVEN,
    "truncate_prompt_tokens": lambda query: query.truncate_prompt_tokens,
    "add_special_tokens": lambda query: (
        isinstance(query.prompt, Prompts) and not query.prompt.special_tokens and "false"
    ),
}


def check_capabilities(query: Query, manifest: Manifest, stop_tokens: int = 0) -> None:
    """Raise NotOffered, with field, value and way out, where `query` asks for what the engine cannot do.

    stop_tokens: how many tokens end the answer beside the engine's own ends of sequence.
    """
    target, ends = manifest.target, len(manifest.eos_token_ids) + stop_tokens
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
                f"{name} is {asked}, but {ends} tokens end an answer of {manifest.name}: {reason}.", name
            )
