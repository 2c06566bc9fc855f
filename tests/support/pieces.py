"""A backend that plays deltas, and answers made of it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

from support.turns import turn

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import Delta, FinishReason, GenerationRequest, SamplingParams
from slipway.gateway.answers.answer import Piece, stream_answer
from slipway.gateway.answers.choices import merge
from slipway.gateway.backends.base import Backend
from slipway.gateway.http.sse import stream_events
from slipway.gateway.shapes.reply import Head, Reply
from slipway.text.parts import AnswerText


class Scripted:
    """Plays deltas, and notes whether it was closed before the end."""

    stats = None

    def __init__(
        self,
        deltas: Sequence[Delta],
        error: SlipwayError | None = None,
        first_after_s: float = 0,
        first_after: asyncio.Event | None = None,
    ) -> None:
        self.deltas = deltas
        self.error = error
        self.first_after_s = first_after_s
        self.first_after = first_after
        self.closed_early = False

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        try:
            await asyncio.sleep(self.first_after_s)
            if self.first_after:
                await self.first_after.wait()
            for delta in self.deltas:
                yield delta
                await asyncio.sleep(0)
            if self.error:
                raise self.error
        except (GeneratorExit, asyncio.CancelledError):
            self.closed_early = True
            raise

    async def check(self) -> None: ...

    async def close(self) -> None: ...


def said(*texts: str, finish: FinishReason = "stop") -> list[Delta]:
    return [*(Delta(text, 1) for text in texts), Delta(finish_reason=finish)]


def request(*stop: str) -> GenerationRequest:
    return GenerationRequest("id", "prompt", (1,), SamplingParams(max_tokens=100), stop)


def shown(pieces: Sequence[Piece]) -> str:
    return "".join(part.text for piece in pieces for part in piece.parts if isinstance(part, AnswerText))


def answers(*backends: Scripted) -> AsyncGenerator[Piece, None]:
    streams = (
        stream_answer(cast(Backend, each), request(), turn(), index=index)
        for index, each in enumerate(backends)
    )
    return merge(list(streams))


async def streamed(reply: Reply, deltas: list[Delta]) -> list[Any]:
    choices = answers(Scripted(deltas))
    sent = b"".join([event async for event in stream_events(reply, choices, 1, 1, 5)])
    *chunks, done, end = sent.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]


HEAD = Head(id="x", model="m", created=1)
