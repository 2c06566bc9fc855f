"""One request in the engine: its prompt, its answer so far, and when it ends."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import Delta, FinishReason, SamplingParams
from slipway.runtime.grammar.matcher import Matcher
from slipway.runtime.kv_cache import FloatArray
from slipway.runtime.prompt_lookup import PromptLookup
from slipway.runtime.prompt_scores import PromptScores
from slipway.runtime.sampling.log_probs import log_probability, top_log_probs
from slipway.runtime.sampling.sampler import Sampler

Event = Delta | SlipwayError
OnEvent = Callable[[Event], None]


class ActiveSequence:
    """The state of one request. `on_event` passes its events to the client.

    eos_token_ids: the engine's own, used when the request names none.
    matcher: set before the first token when the request has a grammar.
    refusal: why the answer cannot continue; the client gets it in place of the last delta.
    scores: of the prompt's tokens, where the request asks for them. A prompt of one token has none.
    """

    def __init__(
        self,
        prompt_token_ids: Sequence[int],
        sampling: SamplingParams,
        eos_token_ids: Sequence[int],
        on_event: OnEvent,
    ) -> None:
        self.prompt_token_ids = prompt_token_ids
        self.sampling = sampling
        self.on_event = on_event
        self.output: list[int] = []
        self.matcher: Matcher | None = None
        self.refusal: SlipwayError | None = None
        ending = eos_token_ids if sampling.eos_token_ids is None else sampling.eos_token_ids
        self._eos = frozenset() if sampling.ignore_eos else frozenset(ending)
        self._sampler = Sampler(sampling, prompt_token_ids, self._eos)
        self._lookup: PromptLookup | None = None
        self.scores: PromptScores | None = None
        if sampling.prompt_log_probs is not None:
            self.scores = PromptScores(prompt_token_ids, sampling.prompt_log_probs)

    def score(self, logits: FloatArray) -> None:
        """Take the logits after the next tokens of the prompt, float32 [tokens, vocab].

        Where the model gave no numbers, `refusal` says so afterwards.
        """
        try:
            if self.scores is not None:
                self.scores.add(logits)
        except SlipwayError as error:
            self.refusal = error

    def begin(self, logits: FloatArray, cached_tokens: int) -> Delta:
        """The first delta, from the logits after the prompt. cached_tokens: of the prompt."""
        first = self.advance(logits) if self.sampling.max_tokens else Delta(finish_reason="length")
        prompt = None if self.scores is None else self.scores.result()
        return replace(first, cached_tokens=cached_tokens, prompt=prompt)

    def advance(self, logits: FloatArray) -> Delta:
        """Choose the next token from logits, float32 [vocab]. Returns what it adds to the answer."""
        try:
            if self.matcher:
                logits = self.matcher.masked(logits, self._eos)
            token = self._sampler.choose(logits)
        except SlipwayError as error:
            self.refusal = error
            return Delta(finish_reason="cancelled")
        if token in self._eos:
            if not self.sampling.report_end:
                return Delta(finish_reason="stop")
            return self._delta(logits, token, 0, "stop")
        self.output.append(token)
        if self.matcher:
            self.matcher.advance(token)
        return self._delta(logits, token, 1, self._finish_reason())

    def _delta(self, logits: FloatArray, token: int, count: int, finish: FinishReason | None) -> Delta:
        """A token with the log-probabilities that the request asks for."""
        sampling = self.sampling
        return Delta(
            token_count=count,
            token_ids=(token,),
            log_probs=(log_probability(logits, token),) if sampling.log_probs else (),
            top_log_probs=(top_log_probs(logits, sampling.top_log_probs),) if sampling.top_log_probs else (),
            finish_reason=finish,
        )

    def accept(self, draft: Sequence[int], logits: Sequence[FloatArray]) -> tuple[Delta, int]:
        """Advance along a draft while its tokens are the ones chosen, and one token further.

        logits: after the last token and after each of the draft, float32 [vocab] each.
        Returns what that adds to the answer, and how many of the logits it used. The sampler never sees the
        other logits, so the answer is the same as without drafts.
        """
        deltas: list[Delta] = []
        for row, guessed in zip(logits, [*draft, None], strict=True):
            deltas.append(self.advance(row))
            if deltas[-1].finish_reason or self.output[-1] != guessed:
                break
        return joined(deltas), len(deltas)

    def chances(self, most: int) -> list[float]:
        """The chance that the first of up to `most` draft tokens is right, the first two are, and so on."""
        if self._lookup is None:
            self._lookup = PromptLookup(self.prompt_token_ids)
        for token in self.output[len(self._lookup) - len(self.prompt_token_ids) :]:
            self._lookup.append(token)
        sampling, length = self.sampling, len(self.output)
        # A pass adds one token more than it drafts. Stop strings count from min_tokens on, so a step must
        # not cross it.
        end = sampling.min_tokens if length < sampling.min_tokens else sampling.max_tokens
        return self._lookup.chances(min(most, end - length - 1))

    def draft(self, length: int) -> list[int]:
        """The first `length` of the tokens that `chances` rated."""
        return self._lookup.draft(length) if self._lookup else []

    def _finish_reason(self) -> FinishReason | None:
        if self.matcher and self.matcher.ended:
            return "stop"
        if len(self.output) >= self.sampling.min_tokens:
            for stop in self.sampling.stop_token_ids:
                if tuple(self.output[-len(stop) :]) == stop:
                    return "stop"
        return "length" if len(self.output) == self.sampling.max_tokens else None


def joined(deltas: Sequence[Delta]) -> Delta:
    """One delta with everything that these added to an answer."""
    return Delta(
        text="".join(delta.text for delta in deltas),
        token_count=sum(delta.token_count for delta in deltas),
        token_ids=tuple(token for delta in deltas for token in delta.token_ids),
        log_probs=tuple(log_prob for delta in deltas for log_prob in delta.log_probs),
        finish_reason=deltas[-1].finish_reason,
        top_log_probs=tuple(top for delta in deltas for top in delta.top_log_probs),
        cached_tokens=deltas[0].cached_tokens,
        prompt=deltas[0].prompt,
    )
