"""One answer, from a backend's deltas to pieces for a reply."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from slipway.contract.errors import EngineFailed, InvalidRequest
from slipway.contract.generation import Delta, GenerationRequest, PromptLogProbs
from slipway.gateway.answers.blocks import Block, grow
from slipway.gateway.answers.interpretation import Finish, Interpretation
from slipway.gateway.answers.log_probs import ChosenToken, LogProbs
from slipway.gateway.answers.thought_limit import ThoughtLimit
from slipway.gateway.backends.base import Backend
from slipway.gateway.queue import Turn
from slipway.text.padding import Unpadder
from slipway.text.parts import AnswerReasoning, Part
from slipway.text.stop import StopStrings


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step added to an answer.

    parts: what may be shown of it; empty only on the last piece.
    tokens: how many tokens were generated since the piece before, shown or not.
    finish_reason: set on the last piece only.
    stop: the stop string that ended the answer, or the text of the stop token, on the last piece, if one did.
    cached_tokens: of the prompt, on the last piece, where the backend reports it.
    log_prob: natural-log probability of those tokens, where it was asked for.
    chosen: the tokens that begin in the text so far and were not reported yet, where the client asked for
        them.
    index: of the answer, among those to one request.
    prompt: of the prompt's tokens, on the first piece, where the request asks for it.
    """

    parts: tuple[Part, ...]
    tokens: int
    finish_reason: Finish | None = None
    cached_tokens: int | None = None
    log_prob: float = 0.0
    stop: str | None = None
    chosen: tuple[ChosenToken, ...] = ()
    index: int = 0
    prompt: PromptLogProbs | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """What becomes of an answer's deltas beside the stop strings.

    unpadder: takes the padding of a text of its own from the answer.
    log_probs: reports each token with its log-probability; None where the client asked for none.
    charge: counts generated tokens.
    thought_limit: ends a thought that is too long; None where the client sets no limit.
    grammar_source: the client's field that has the grammar, where there is one. Everything else was checked
        before, so what the engine refuses is the grammar.
    """

    interpretation: Interpretation = field(default_factory=Interpretation)
    unpadder: Unpadder = field(default_factory=Unpadder)
    log_probs: LogProbs | None = None
    charge: Callable[[int], None] = lambda tokens: None
    grammar_source: str | None = None
    thought_limit: ThoughtLimit | None = None

    def generate(self, backend: Backend, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """The deltas of the answer to `request`."""
        limit = self.thought_limit
        return backend.generate(request) if limit is None else limit.generate(backend, request)


async def stream_answer(
    backend: Backend,
    request: GenerationRequest,
    turn: Turn,
    listener: Listener | None = None,
    index: int = 0,
) -> AsyncGenerator[Piece, None]:
    """The answer to `request` when its turn comes, up to the first stop string.

    A stop string, and closing this generator, end the generation in the engine. The text of the first
    min_tokens tokens is not searched, because an answer never ends earlier.
    Raises what the backend raises.
    """
    listener = listener or Listener()
    log_probs = listener.log_probs
    stop = StopStrings(request.stop, request.show_stop)
    tokens = 0
    log_prob = 0.0
    chosen: tuple[ChosenToken, ...] = ()
    cached: int | None = None
    prompt: PromptLogProbs | None = None
    exempt = request.sampling.min_tokens
    try:
        async with turn, aclosing(listener.generate(backend, request)) as deltas:
            async for delta in deltas:
                tokens += delta.token_count
                turn.count(delta.token_count)
                log_prob += sum(delta.log_probs[: delta.token_count])
                prompt = prompt or delta.prompt
                cached = delta.cached_tokens if cached is None else cached
                text = listener.unpadder.push(delta.text)
                text, matched = stop.push(text) if exempt <= 0 else (text, None)
                exempt -= delta.token_count
                cut = matched is not None
                if not cut and (matched := _stop_token(request, delta)) is not None:
                    text += stop.flush() + (matched if request.show_stop else "")
                finish = _finish_reason(delta, matched)
                if matched is None and finish is not None:
                    text += stop.flush()
                ended = finish is not None and (not cut or request.sampling.report_end)
                parts, finish = listener.interpretation.read(text, finish)
                if log_probs is not None:
                    log_probs.push(delta)
                    chosen += log_probs.shown(len(text), listener.interpretation.answer_start, ended)
                if not parts and finish is None:
                    continue
                listener.charge(tokens)
                known = cached if finish else None
                piece = Piece(parts, tokens, finish, known, log_prob, matched, chosen, index, prompt)
                turn.show(reasoning_tokens(piece), answers=bool(parts) and not _only_thinks(piece))
                yield piece
                if finish is not None:
                    return
                tokens, log_prob, chosen, prompt = 0, 0.0, (), None
    except InvalidRequest as error:
        if listener.grammar_source is None:
            raise
        raise InvalidRequest(str(error), listener.grammar_source) from None
    raise EngineFailed("The engine ended this answer without a reason; send it again.")


def _finish_reason(delta: Delta, matched: str | None) -> Finish | None:
    """Why the answer ends here, if it does. Raises EngineFailed where the engine was told to end it."""
    if matched is not None:
        return "stop"
    if delta.finish_reason == "cancelled":
        raise EngineFailed("The engine was told to end this answer; send it again.")
    return delta.finish_reason


def _stop_token(request: GenerationRequest, delta: Delta) -> str | None:
    """The text of the stop token that ended the answer, if one did."""
    return None if delta.stop_token_id is None else request.stop_tokens[delta.stop_token_id]


@dataclass(slots=True)
class Answer:
    """An answer that is complete once its last piece is added.

    reasoning_tokens: those of the steps that added only to its reasoning.
    """

    blocks: list[Block] = field(default_factory=list)
    tokens: int = 0
    reasoning_tokens: int = 0
    finish_reason: Finish = "stop"
    stop: str | None = None
    cached_tokens: int | None = None
    log_prob: float = 0.0
    chosen: list[ChosenToken] = field(default_factory=list)
    prompt: PromptLogProbs | None = None

    def add(self, piece: Piece) -> None:
        """Take the next piece."""
        for part in piece.parts:
            grow(self.blocks, part)
        self.tokens += piece.tokens
        self.reasoning_tokens += reasoning_tokens(piece)
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.stop = piece.stop
        self.cached_tokens = piece.cached_tokens
        self.log_prob += piece.log_prob
        self.chosen += piece.chosen
        self.prompt = self.prompt or piece.prompt

    @property
    def text(self) -> str:
        """What the model says to the user."""
        return "".join(block.text for block in self.blocks if block.kind == "text")

    @property
    def reasoning(self) -> str:
        """What it thought."""
        return "".join(block.text for block in self.blocks if block.kind == "reasoning")

    @property
    def calls(self) -> list[Block]:
        """Its tool calls."""
        return [block for block in self.blocks if block.kind == "call"]


def reasoning_tokens(piece: Piece) -> int:
    """How many tokens of `piece` are reasoning. A step counts as a whole: all of its tokens or none."""
    return piece.tokens if _only_thinks(piece) else 0


def _only_thinks(piece: Piece) -> bool:
    return bool(piece.parts) and all(isinstance(part, AnswerReasoning) for part in piece.parts)
