"""One client asks for more long answers than the engine has slots; another one asks small questions."""

import asyncio
from dataclasses import dataclass

import httpx

from bench.faults.target import GREEDY, MODEST, PLAIN, Target, first_token_s

_QUESTIONS = 5


@dataclass(frozen=True, slots=True)
class LongAnswers:
    """Seconds to the first token of small questions: before the long answers, and beside them at worst."""

    undisturbed_s: float
    disturbed_s: float


async def ask_for_long_answers(
    target: Target, answers: int, max_tokens: int, patience_s: float
) -> LongAnswers:
    """Ask for several long answers at once, and end them when the small questions are answered.

    patience_s: for each small question.
    """

    async def read(client: httpx.AsyncClient) -> None:
        body = target.body(max_tokens, stream=True)
        async with client.stream("POST", PLAIN, json=body) as response:
            async for _ in response.aiter_raw():
                pass

    async with target.client(GREEDY) as greedy, target.client(MODEST) as modest:
        undisturbed = await first_token_s(target, modest)
        reading = [asyncio.create_task(read(greedy)) for _ in range(answers)]
        await asyncio.sleep(1)
        seconds = []
        for _ in range(_QUESTIONS):
            try:
                async with asyncio.timeout(patience_s):
                    seconds.append(await first_token_s(target, modest))
            except TimeoutError:
                seconds.append(patience_s)
                break
        for each in reading:
            each.cancel()
        await asyncio.wait(reading)
    return LongAnswers(undisturbed, max(seconds))
