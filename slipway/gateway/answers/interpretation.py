"""Answers told apart into what a model thinks, says and calls; asked for by `gateway.app`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from slipway.gateway.answers.answer import Piece
from slipway.gateway.answers.log_probs import ChosenToken
from slipway.text.answer_parser import AnswerParser
from slipway.text.parts import AnswerText, CallArguments, CallStart, Part


@dataclass(frozen=True, slots=True)
class Interpretation:
    """How one answer is read.

    only_calls: it is nothing but calls, so that what is no call is one that was cut.
    one_call: a second one is not told, and ends the generation.
    """

    interpreter: AnswerParser
    only_calls: bool = False
    one_call: bool = False

    async def of(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
        """The pieces with their texts told apart. An answer that ends by itself and calls says so, unless a
        stop string or the model's own end cut the arguments of a call in two: they are no JSON.
        """
        tokens, log_prob = 0, 0.0
        chosen: tuple[ChosenToken, ...] = ()
        calls = False
        async with aclosing(pieces):
            async for piece in pieces:
                tokens, log_prob, chosen = (
                    tokens + piece.tokens,
                    log_prob + piece.log_prob,
                    (*chosen, *piece.chosen),
                )
                parts = self._read(piece)
                told = self._shown(parts)
                calls = calls or any(isinstance(part, CallStart) for part in told)
                finish = piece.finish_reason
                if self.one_call and any(isinstance(part, CallStart) and part.index for part in parts):
                    finish = "tool_calls"
                if finish == "stop" and calls and self.interpreter.calls_complete:
                    finish = "tool_calls"
                if told or finish is not None:
                    yield replace(
                        piece,
                        parts=tuple(told),
                        tokens=tokens,
                        log_prob=log_prob,
                        chosen=chosen,
                        finish_reason=finish,
                    )
                    tokens, log_prob, chosen = 0, 0.0, ()
                if finish is not None:
                    return

    def _read(self, piece: Piece) -> list[Part]:
        parts = self.interpreter.push(
            "".join(part.text for part in piece.parts if isinstance(part, AnswerText))
        )
        return parts if piece.finish_reason is None else [*parts, *self.interpreter.flush()]

    def _shown(self, parts: list[Part]) -> list[Part]:
        if self.only_calls:
            parts = [part for part in parts if not isinstance(part, AnswerText)]
        if self.one_call:
            parts = [
                part for part in parts if not (isinstance(part, CallStart | CallArguments) and part.index)
            ]
        return parts
