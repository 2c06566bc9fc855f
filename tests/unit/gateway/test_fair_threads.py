"""Work in threads that clients share."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from slipway.gateway.errors import ServerBusy
from slipway.gateway.fair_threads import FairThreads


@pytest.fixture
async def threads() -> AsyncIterator[FairThreads]:
    threads = FairThreads(2, bound=3, what="long bodies")
    yield threads
    threads.close()


async def test_a_client_past_its_bound_is_refused_and_another_one_is_not(threads: FairThreads) -> None:
    go = threading.Event()
    asked = [asyncio.create_task(threads.run("greedy", go.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ServerBusy, match="3 long bodies of this client"):
        await threads.run("greedy", go.wait)
    other = asyncio.create_task(threads.run("modest", lambda: 7))
    await asyncio.sleep(0)
    go.set()
    assert await other == 7
    await asyncio.gather(*asked)


async def test_work_that_is_given_up_while_it_waits_is_never_done(threads: FairThreads) -> None:
    go, done = threading.Event(), []
    running = [asyncio.create_task(threads.run("ada", go.wait)) for _ in range(2)]
    waiting = asyncio.create_task(threads.run("ada", lambda: done.append("no")))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    go.set()
    await asyncio.gather(*running)
    assert await threads.run("ada", lambda: done.append("yes")) is None
    assert done == ["yes"]


async def test_work_that_is_given_up_while_it_runs_keeps_its_thread_until_it_ends(
    threads: FairThreads,
) -> None:
    go, order = threading.Event(), []
    running = [asyncio.create_task(threads.run("ada", go.wait)) for _ in range(2)]
    await asyncio.sleep(0.01)
    for each in running:
        each.cancel()
    await asyncio.wait(running)
    next_one = asyncio.create_task(threads.run("ada", lambda: order.append("next")))
    await asyncio.sleep(0.01)
    assert not order
    go.set()
    await next_one
    assert order == ["next"]


async def test_what_the_work_raises_comes_back(threads: FairThreads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.run("ada", lambda: 1 // 0)
