"""Ends a thought of a model after a given number of tokens, so that its answer begins."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from slipway.contract.generation import Delta, GenerationRequest
from slipway.gateway.backends.base import Backend
from slipway.text.detokenizer import Detokenizer
from slipway.text.reasoning import CLOSE, ReasoningSplitter
from slipway.text.tokenizer import Tokenizer

_ENDING = f"\n{CLOSE}\n\n"


@dataclass(frozen=True, slots=True)
class ThoughtLimit:
    """tokens: of a thought at most, without its tags; 0 for none.

    room: tokens that the engine takes behind the prompt. A thought that is ended becomes a part of the prompt
        from which the engine goes on, so one that would not fit is ended earlier.
    """

    tokens: int
    room: int
    tokenizer: Tokenizer

    async def generate(self, backend: Backend, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """The answer to `request`, in which the tag that closes a thought follows one that is too long.

        The tokens of that tag count as the model's. Raises what the backend raises.
        """
        ending = self.tokenizer.encode_inside(_ENDING)
        limit = max(0, min(self.tokens, self.room - len(ending)))
        thought = _Thought(self.tokenizer, request, limit)
        if not thought.ends_at_once:
            # With log-probabilities, every backend tells the ids of the tokens.
            told = replace(request, sampling=replace(request.sampling, log_probs=True))
            async with aclosing(backend.generate(told)) as deltas:
                async for delta in deltas:
                    kept, ends = thought.keep(delta)
                    yield kept if request.sampling.log_probs else replace(kept, log_probs=())
                    if ends:
                        break
                    if kept.finish_reason is not None:
                        return
        follow = _follow(request, [*thought.ids, *ending], thought.ends_at_once)
        if follow.sampling.max_tokens < 1:
            if follow.sampling.prompt_log_probs is None:
                yield Delta(finish_reason="length")
                return
            async with aclosing(backend.generate(_without_answer(request))) as deltas:
                async for delta in deltas:
                    yield delta
            return
        log_probs = (0.0,) * len(ending) if request.sampling.log_probs else ()
        text = self.tokenizer.vocabulary.join(ending).decode()
        yield Delta(text, len(ending), tuple(ending), log_probs)
        async with aclosing(backend.generate(follow)) as deltas:
            async for delta in deltas:
                # Of its longer prompt, the client sent the first part only.
                cached = delta.cached_tokens
                sent = len(request.prompt_token_ids)
                yield delta if cached is None else replace(delta, cached_tokens=min(cached, sent))


class _Thought:
    """Follows an answer token by token until its thought has ended or must end.

    ends_at_once: whether it must end before the first token. ids: of the tokens up to its end.
    """

    def __init__(self, tokenizer: Tokenizer, request: GenerationRequest, limit: int) -> None:
        self.ids: list[int] = []
        self._splitter = ReasoningSplitter(request.prompt or tokenizer.text(request.prompt_token_ids))
        self._detokenizer = Detokenizer(tokenizer)
        self._left = limit
        self.ends_at_once = self._splitter.inside and not limit

    def keep(self, delta: Delta) -> tuple[Delta, bool]:
        """The part of `delta` up to where the thought must end, and True; else all of it, and False."""
        texts = []
        for count, token in enumerate(delta.token_ids, 1):
            if self._splitter.answer_start is not None:
                break
            self._left -= self._splitter.inside
            self.ids.append(token)
            texts.append(self._detokenizer.push([token]))
            self._splitter.push(texts[-1])
            if self._splitter.inside and self._left <= 0:
                kept = Delta(
                    "".join(texts),
                    count,
                    delta.token_ids[:count],
                    delta.log_probs[:count],
                    top_log_probs=delta.top_log_probs[:count],
                    cached_tokens=delta.cached_tokens,
                    prompt=delta.prompt,
                )
                return kept, True
        return delta, False


def _without_answer(request: GenerationRequest) -> GenerationRequest:
    """A request that only reads the prompt."""
    return replace(request, sampling=replace(request.sampling, max_tokens=0, min_tokens=0))


def _follow(request: GenerationRequest, added: Sequence[int], first: bool) -> GenerationRequest:
    """A request that goes on from the prompt and the tokens `added`, up to the same length.

    first: whether it is the first for this answer, so that it reports the prompt's log-probabilities.
    """
    sampling = request.sampling
    return replace(
        request,
        request_id=f"{request.request_id}-answer",
        prompt="",
        prompt_token_ids=(*request.prompt_token_ids, *added),
        sampling=replace(
            sampling,
            max_tokens=sampling.max_tokens - len(added),
            min_tokens=max(0, sampling.min_tokens - len(added)),
            prompt_log_probs=sampling.prompt_log_probs if first else None,
        ),
    )
