"""One client asks for far more answers than the queue takes; a modest one asks for one at a time."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import httpx

from bench.faults.target import GREEDY, MODEST, PLAIN, Target

_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Waited:
    """What one request was told when it was refused first, and how long it then waited for its answer.

    Seconds; told is None where it was not refused. statuses: of all its tries.
    """

    told: float | None
    waited: float
    statuses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FullQueue:
    """statuses: of all tries. ratios: by which the waits differ from what was told, sorted; 1 is exact.

    modest_s: seconds of each of the modest client's answers, with its wait. share_s: what an answer would
    take if both clients had half of the places each.
    """

    statuses: dict[int, int]
    ratios: list[float]
    modest_s: list[float]
    share_s: float


async def fill_queue(target: Target, answers: int, max_tokens: int, places: int) -> FullQueue:
    """Ask for `answers` answers at once, each sent again when the server says.

    places: answers that the server runs at once.
    """
    async with target.client(GREEDY) as greedy, target.client(MODEST) as modest:
        # So that the server knows how long such answers take, and of no others. It remembers the last 32.
        for _ in range(2):
            await asyncio.gather(*(_patiently(target, greedy, max_tokens) for _ in range(places)))
        started = time.perf_counter()
        asking = asyncio.gather(*(_patiently(target, greedy, max_tokens) for _ in range(answers)))
        modest_s = []
        while not asking.done():
            modest_s.append((await _patiently(target, modest, max_tokens)).waited)
        waited = await asking
        total = time.perf_counter() - started
    rate = (answers + len(modest_s)) / total
    ratios = sorted(each.waited / each.told for each in waited if each.told is not None)
    statuses = Counter(status for each in waited for status in each.statuses)
    # A place of its own share is free after two answers' time, and then its answer takes as long as any.
    return FullQueue(dict(statuses), ratios, modest_s, 2 / rate + places / rate)


async def _patiently(target: Target, client: httpx.AsyncClient, max_tokens: int) -> Waited:
    """Ask for an answer until it comes."""
    started = time.perf_counter()
    told: float | None = None
    statuses = []
    for _ in range(_TRIES):
        response = await client.post(PLAIN, json=target.body(max_tokens))
        statuses.append(response.status_code)
        if response.status_code not in (429, 503):
            break
        seconds = float(response.headers["retry-after"])
        told = seconds if told is None else told
        await asyncio.sleep(seconds)
    return Waited(told, time.perf_counter() - started, tuple(statuses))
