"""Several answers to one request, generated at the same time; `gateway.app` asks for them here.

They have one prompt, so the engine reads it once: the second finds it in the slot of the first, which may
still be running, copies it and reads its last two tokens again (`runtime.slots`).
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import inf

from slipway.contract.generation import GenerationRequest
from slipway.gateway.answers.answer import Piece, Whole


@dataclass(frozen=True, slots=True)
class Choice:
    """A piece of the answer with this index."""

    index: int
    piece: Piece


def candidates(request: GenerationRequest, count: int, ranked: bool) -> list[GenerationRequest]:
    """`count` requests with ids of their own; the first is answered as `request` alone would be.

    Seeds count up from the request's, as in vLLM; without one, each request draws its own.
    ranked: `best` will be asked, which reads the log-probabilities.
    """
    sampling = replace(request.sampling, log_probs=ranked or request.sampling.log_probs)
    requests = [replace(request, sampling=sampling)]
    for index in range(1, count):
        seed = None if sampling.seed is None else (sampling.seed + index) % 2**64
        requests.append(
            replace(
                request,
                request_id=f"{request.request_id}-{index}",
                sampling=replace(sampling, seed=seed),
            )
        )
    return requests


async def merged(answers: Sequence[AsyncGenerator[Piece, None]]) -> AsyncGenerator[Choice, None]:
    """The pieces of all answers as they come, begun in their order.

    Raises what the first to fail raises; that, or closing this generator, ends the others.
    """
    if len(answers) == 1:  # nearly every request: no task and no queue between the engine and the client
        async with aclosing(answers[0]) as pieces:
            async for piece in pieces:
                yield Choice(0, piece)
        return
    news: asyncio.Queue[Choice | asyncio.Task[None]] = asyncio.Queue()

    async def listen(index: int, pieces: AsyncGenerator[Piece, None]) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                news.put_nowait(Choice(index, piece))

    tasks = [asyncio.create_task(listen(index, pieces)) for index, pieces in enumerate(answers)]
    for task in tasks:
        task.add_done_callback(news.put_nowait)
    try:
        running = len(tasks)
        while running:
            item = await news.get()
            if isinstance(item, asyncio.Task):
                item.result()
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        # What fails beside the first failure is told by it: an engine that dies fails them all.
        await asyncio.gather(*tasks, return_exceptions=True)


async def begun(choices: AsyncGenerator[Choice, None], patience_s: float) -> AsyncGenerator[Choice, None]:
    """Wait for the first piece, but no longer than `patience_s` seconds; the pieces.

    What is raised meanwhile can still be a response of its own.
    """
    first = asyncio.ensure_future(anext(choices))
    try:
        await asyncio.wait((first,), timeout=patience_s)
        if first.done():
            first.result()
    except BaseException:
        await _given_up(first)
        raise

    async def all_of_them() -> AsyncGenerator[Choice, None]:
        async with aclosing(choices):
            try:
                yield await first
            finally:
                await _given_up(first)
            async for choice in choices:
                yield choice

    return all_of_them()


async def _given_up(first: asyncio.Future[Choice]) -> None:
    """Nobody waits for it any more, and a generator that is being waited for cannot be closed."""
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def wholes(choices: AsyncGenerator[Choice, None], count: int) -> list[Whole]:
    """Wait for the end of `count` answers; by index."""
    collected = [Whole() for _ in range(count)]
    async with aclosing(choices):
        async for choice in choices:
            collected[choice.index].add(choice.piece)
    return collected


def best(answers: Sequence[Whole], count: int) -> list[Whole]:
    """The `count` answers whose tokens have the highest mean log-probability, the best first.

    Answers without a token come last: the log-probability of ending at once is not reported.
    """
    return sorted(answers, key=_mean_log_prob, reverse=True)[:count]


def _mean_log_prob(answer: Whole) -> float:
    return answer.log_prob / answer.tokens if answer.tokens else -inf
