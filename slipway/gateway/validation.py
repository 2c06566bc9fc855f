"""From a query to sampling parameters: the checks that need no tokenizer."""

from collections.abc import Callable, Sequence

from slipway.contract.errors import ContextLengthExceeded, InvalidRequest
from slipway.contract.generation import Grammar, SamplingParams
from slipway.contract.manifest import Manifest
from slipway.gateway.bounds import MAX_MESSAGES, MAX_PROMPT_LOGPROBS, MAX_STOP_LENGTH
from slipway.gateway.grammars.structure import answer_grammar, grammar_source
from slipway.gateway.query import Conversation, Query
from slipway.text.length import has_more


def check_query(query: Query) -> None:
    """Raise InvalidRequest where the conversation of a query contradicts itself."""
    conversation = query.prompt
    if not isinstance(conversation, Conversation):
        return
    count, source = len(conversation.messages), query.named("messages")
    if count > MAX_MESSAGES:
        raise InvalidRequest(f"{source} has {count} entries; the most is {MAX_MESSAGES}.", source)
    names = [tool.name for tool in conversation.tools]
    for index, tool in enumerate(conversation.tools):
        if tool.name in names[:index]:
            raise InvalidRequest(
                f"{tool.source}.name is {tool.name}, as that of an earlier one; give each its own.",
                f"{tool.source}.name",
            )
    if not names and conversation.must_call:
        raise InvalidRequest("tool_choice asks for a call, but there are no tools; give some.", "tool_choice")
    if conversation.only_tool is not None and conversation.only_tool not in names:
        raise InvalidRequest(
            f"tool_choice names {conversation.only_tool}, which is not among the tools: {', '.join(names)}.",
            "tool_choice",
        )


def stop_strings(query: Query, manifest: Manifest) -> tuple[str, ...]:
    """What ends the answer: the query's strings, then the recipe's."""
    source, length = query.named("stop"), sum(map(len, query.stop))
    if length > MAX_STOP_LENGTH:
        raise InvalidRequest(
            f"{source} has {length} characters in all; the most is {MAX_STOP_LENGTH}, so shorten the "
            "strings.",
            source,
        )
    return tuple(dict.fromkeys([*query.stop, *manifest.chat.stop]))


def check_ids(ids: Sequence[int], manifest: Manifest, field: str) -> None:
    """Raise InvalidRequest for a token id, in this field of the body, that the engine does not have."""
    unknown = next((token for token in ids if token >= manifest.vocab_size), None)
    if unknown is not None:
        raise InvalidRequest(
            f"{field} holds token id {unknown}, but the vocabulary of {manifest.name} ends at "
            f"{manifest.vocab_size - 1}.",
            field,
        )


def check_length(
    text: str, limit: int, manifest: Manifest, field: str, encode: Callable[[str], Sequence[int]]
) -> None:
    """Raise ContextLengthExceeded for a long prompt that certainly has more than `limit` tokens."""
    if has_more(text, limit, encode):
        raise _too_long(f"more than {limit}", manifest, field)


def check_tokens(query: Query, max_tokens: Sequence[int], highest: int) -> None:
    """Raise InvalidRequest where the answers may have more than `highest` tokens together.

    max_tokens: of each answer. A token counts once more for each log-probability that is reported with it. A
    single answer without any may always fill the engine's context.
    """
    reported = 0 if query.logprobs is None else 1 + query.logprobs
    total = sum(max_tokens) * (1 + reported)
    if total <= highest or (len(max_tokens) == 1 and not reported):
        return
    ways_out = "Give a smaller max_tokens, or start the server with a larger --max-request-tokens"
    several = f"{query.multiplier} makes {len(max_tokens)} answers, which may have {sum(max_tokens)} tokens"
    if not reported:
        raise InvalidRequest(f"{several} in all; the most is {highest}. {ways_out}.", query.multiplier)
    source = query.named("top_logprobs")
    count = f"{several} in all" if len(max_tokens) > 1 else f"The answer may have {max_tokens[0]} tokens"
    raise InvalidRequest(
        f"{count}, each with {reported} log-probabilities by {source}; that counts as {total} tokens, and "
        f"the most is {highest}. Ask for fewer likely tokens. {ways_out}.",
        query.multiplier if len(max_tokens) > 1 else source,
    )


def check_prompt_logprobs(query: Query, prompt_tokens: int) -> None:
    """Raise InvalidRequest where a reply would have too many log-probabilities of prompts.

    prompt_tokens: of all prompts.
    """
    if query.prompt_logprobs is None:
        return
    source, count = query.named("prompt_logprobs"), prompt_tokens * query.n * (1 + query.prompt_logprobs)
    if count > MAX_PROMPT_LOGPROBS:
        raise InvalidRequest(
            f"{source} asks for {count} log-probabilities of {prompt_tokens} prompt tokens; the most is "
            f"{MAX_PROMPT_LOGPROBS}, so send fewer prompts at once or ask for fewer likely tokens.",
            source,
        )


def sampling(query: Query, prompt_tokens: int, manifest: Manifest, prompt_source: str) -> SamplingParams:
    """How the answer is generated.

    prompt_source: the client's field that has the prompt.
    Raises ContextLengthExceeded when the prompt, or the prompt and the tokens asked for, do not fit.
    """
    max_tokens = _max_tokens(query, prompt_tokens, manifest, prompt_source)
    grammar = _grammar(query)
    check_ids(list(query.logit_bias), manifest, query.named("logit_bias"))
    # The likeliest tokens that together have probability 0: only the likeliest.
    top_k = 1 if query.top_p == 0 else query.top_k
    return SamplingParams(
        max_tokens=max_tokens,
        min_tokens=query.min_tokens,
        temperature=query.temperature,
        top_p=query.top_p or 1.0,
        top_k=top_k if 0 < top_k < manifest.vocab_size else 0,
        min_p=query.min_p,
        repetition_penalty=query.repetition_penalty,
        presence_penalty=query.presence_penalty,
        frequency_penalty=query.frequency_penalty,
        logit_bias=tuple(query.logit_bias.items()),
        # OpenAI's seeds are signed; engines take the same 64 bits unsigned.
        seed=None if query.seed is None else query.seed % 2**64,
        ignore_eos=query.ignore_eos,
        log_probs=query.logprobs is not None,
        top_log_probs=query.logprobs or 0,
        prompt_log_probs=query.prompt_logprobs,
        report_end=query.report_all,
        grammar=grammar,
    )


def _max_tokens(query: Query, prompt_tokens: int, manifest: Manifest, prompt_source: str) -> int:
    limits = manifest.limits
    if prompt_tokens == 0:
        raise InvalidRequest(f"{prompt_source} holds no token to go on from; write something.", prompt_source)
    if prompt_tokens > limits.max_input_len:
        raise _too_long(str(prompt_tokens), manifest, prompt_source)
    left = limits.max_seq_len - prompt_tokens
    if query.max_tokens is not None and query.max_tokens > left and not query.fit_context:
        source = query.named("max_tokens")
        raise ContextLengthExceeded(
            f"{source} is {query.max_tokens}, but the prompt's {prompt_tokens} tokens leave {left} of the "
            f"context of {limits.max_seq_len} tokens; ask for that many at most.",
            source,
        )
    max_tokens = None if query.max_tokens is None else min(query.max_tokens, left)
    if max_tokens is None:
        max_tokens = min(left, max(manifest.default_max_tokens, query.min_tokens))
    if query.min_tokens > max_tokens:
        raise InvalidRequest(
            f"min_tokens is {query.min_tokens}, but the answer has {max_tokens} at most; ask for fewer.",
            "min_tokens",
        )
    return max_tokens


def _too_long(tokens: str, manifest: Manifest, prompt_source: str) -> ContextLengthExceeded:
    limits = manifest.limits
    return ContextLengthExceeded(
        f"The prompt has {tokens} tokens, and {manifest.name} takes {limits.max_input_len} at most (prompt "
        f"and answer together: {limits.max_seq_len}); shorten it.",
        prompt_source,
    )


def _grammar(query: Query) -> Grammar | None:
    grammar = answer_grammar(query)
    if grammar is not None and query.ignore_eos:
        raise InvalidRequest(
            f"ignore_eos is true, but {grammar_source(query)} says where the answer ends; leave one of them "
            "out.",
            "ignore_eos",
        )
    return grammar
