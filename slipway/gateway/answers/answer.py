"""One answer: a backend's deltas with stop strings applied; `gateway.app` sends it on."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

from slipway.contract.errors import EngineFailed, InvalidRequest
from slipway.contract.generation import GenerationRequest
from slipway.gateway.admission import Turn
from slipway.gateway.answers.blocks import Block, grow
from slipway.gateway.answers.log_probs import ChosenToken, LogProbs
from slipway.gateway.backends.base import Backend
from slipway.text.parts import AnswerReasoning, AnswerText, Part
from slipway.text.stop import StopStrings
from slipway.text.tokenizer import Tokenizer

# "tool_calls": it ended by itself, and calls tools.
Finish = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Piece:
    """What one step added to the answer.

    parts: what may be shown of it; none only on the last piece.
    tokens: how many tokens were generated since the piece before, shown or not.
    finish_reason: set on the last piece alone.
    stop: the stop string that ended the answer, on the last piece, if one did.
    cached_tokens: of the prompt, on the last piece, where the backend says.
    log_prob: natural-log probability of those tokens, where it was asked for.
    chosen: the tokens that begin in the text so far and were not told yet, where the client asked for them.
    """

    parts: tuple[Part, ...]
    tokens: int
    finish_reason: Finish | None = None
    cached_tokens: int | None = None
    log_prob: float = 0.0
    stop: str | None = None
    chosen: tuple[ChosenToken, ...] = ()


async def answer(
    backend: Backend, request: GenerationRequest, turn: Turn, told_by: Tokenizer | None = None
) -> AsyncGenerator[Piece, None]:
    """The answer to `request` when its turn comes, up to the first stop string, which also ends the
    generation in the engine.

    The text of the first min_tokens tokens is not searched, because an answer never ends earlier.
    told_by: the tokenizer of the engine, where the client wants to know the log-probability of each token.
    Raises what the backend raises.
    """
    log_probs = None if told_by is None else LogProbs(told_by)
    length = 0
    stop = StopStrings(request.stop, request.show_stop)
    tokens = 0
    log_prob = 0.0
    cached: int | None = None
    exempt = request.sampling.min_tokens
    async with turn, aclosing(backend.generate(request)) as deltas:
        async for delta in deltas:
            tokens += delta.token_count
            turn.count(delta.token_count)
            log_prob += sum(delta.log_probs)
            cached = delta.cached_tokens if cached is None else cached
            text, matched = stop.push(delta.text) if exempt <= 0 else (delta.text, None)
            exempt -= delta.token_count
            if log_probs is not None:
                log_probs.push(delta)
                length += len(text)
            if matched is not None:
                chosen = log_probs.before(length) if log_probs else ()
                yield Piece(_shown(text), tokens, "stop", cached, log_prob, matched, chosen)
                return
            if delta.finish_reason == "cancelled":
                raise EngineFailed("The engine was told by someone else to end this answer; send it again.")
            if delta.finish_reason is not None:
                text += stop.flush()
                chosen = log_probs.rest() if log_probs else ()
                yield Piece(_shown(text), tokens, delta.finish_reason, cached, log_prob, chosen=chosen)
                return
            if text:
                chosen = log_probs.before(length) if log_probs else ()
                yield Piece(_shown(text), tokens, log_prob=log_prob, chosen=chosen)
                tokens, log_prob = 0, 0.0
    raise EngineFailed("The engine ended this answer without saying why; send it again.")


def _shown(text: str) -> tuple[Part, ...]:
    return (AnswerText(text),) if text else ()


async def blaming(field: str, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
    """The pieces of a request with a grammar, which came from `field` of the body.

    All else was checked before, so what the engine refuses is the grammar, and the client hears where it is.
    """
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                yield piece
        except InvalidRequest as error:
            raise InvalidRequest(str(error), field) from None


@dataclass(slots=True)
class Whole:
    """An answer that is complete once its last piece is added.

    reasoning_tokens: those of the steps that added to its reasoning alone.
    """

    blocks: list[Block] = field(default_factory=list)
    tokens: int = 0
    reasoning_tokens: int = 0
    finish_reason: Finish = "stop"
    stop: str | None = None
    cached_tokens: int | None = None
    log_prob: float = 0.0
    chosen: list[ChosenToken] = field(default_factory=list)

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
        """Its calls of tools."""
        return [block for block in self.blocks if block.kind == "call"]


def reasoning_tokens(piece: Piece) -> int:
    """How many tokens of `piece` are reasoning, as far as a step can tell: all of them or none."""
    only_reasoning = piece.parts and all(isinstance(part, AnswerReasoning) for part in piece.parts)
    return piece.tokens if only_reasoning else 0
