"""Several answers to one request, generated at the same time.

They have one prompt, so the engine reads it once: the second answer finds it in the slot of the first, which
may still be running, copies it and reads its last two tokens again.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from math import inf

from slipway.contract.generation import GenerationRequest
from slipway.gateway.answers.answer import Answer, Piece

# Pieces that the client has not read. Then the answers wait: two contexts of 8,192 tokens are a few MB.
_MAX_UNREAD = 16_384


def candidates(request: GenerationRequest, count: int, ranked: bool) -> list[GenerationRequest]:
    """`count` requests with ids of their own; the first has the answer that `request` would have.

    Seeds count up from the request's, as in vLLM; without one, each request draws its own. Only the first has
    the log-probabilities of the prompt, which are the same for all.
    ranked: whether the answers will be compared by their log-probabilities.
    """
    sampling = replace(request.sampling, log_probs=ranked or request.sampling.log_probs)
    requests = [replace(request, sampling=sampling)]
    for index in range(1, count):
        seed = None if sampling.seed is None else (sampling.seed + index) % 2**64
        requests.append(
            replace(
                request,
                request_id=f"{request.request_id}-{index}",
                sampling=replace(sampling, seed=seed, prompt_log_probs=None),
            )
        )
    return requests


def merge(answers: Sequence[AsyncGenerator[Piece, None]]) -> AsyncGenerator[Piece, None]:
    """The pieces of all answers as they come, started in their order.

    Raises what the first to fail raises; that, or closing this generator, ends the others.
    """
    # Nearly every request has one answer: it needs no task and no queue.
    return answers[0] if len(answers) == 1 else _merge(answers)


async def _merge(answers: Sequence[AsyncGenerator[Piece, None]]) -> AsyncGenerator[Piece, None]:
    news: asyncio.Queue[Piece | Exception | None] = asyncio.Queue(_MAX_UNREAD)

    async def listen(pieces: AsyncGenerator[Piece, None]) -> None:
        end: Exception | None = None
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    await news.put(piece)
        except Exception as error:  # noqa: BLE001 - raised again by the reader
            end = error
        await news.put(end)

    tasks = [asyncio.create_task(listen(pieces)) for pieces in answers]
    try:
        running = len(tasks)
        while running:
            item = await news.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        # An engine that dies fails all answers; the first failure stands for the others.
        await asyncio.gather(*tasks, return_exceptions=True)


async def collect(pieces: AsyncGenerator[Piece, None], count: int) -> list[Answer]:
    """Wait for the end of `count` answers; by index."""
    answers = [Answer() for _ in range(count)]
    async with aclosing(pieces):
        async for piece in pieces:
            answers[piece.index].add(piece)
    return answers


def best(answers: Sequence[Answer], count: int) -> list[Answer]:
    """The `count` answers whose tokens have the highest mean log-probability, the best first.

    Answers without a token come last: the log-probability of ending at once is not reported.
    """
    return sorted(answers, key=_mean_log_prob, reverse=True)[:count]


def _mean_log_prob(answer: Answer) -> float:
    return answer.log_prob / answer.tokens if answer.tokens else -inf
