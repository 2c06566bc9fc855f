"""Waiting for a condition, with a limit."""

import asyncio
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], timeout: float = 60, every: float = 0.005) -> float:
    """Wait until `condition` holds and return the seconds it took; fail after `timeout` seconds.

    every: seconds between two looks.
    """
    start = time.perf_counter()
    while not condition():
        assert time.perf_counter() - start < timeout, f"still false after {timeout:g} s"
        time.sleep(every)
    return time.perf_counter() - start


async def wait_until_async(condition: Callable[[], bool], timeout: float = 60) -> None:
    """Let the event loop run until `condition` holds; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"still false after {timeout:g} s"
        await asyncio.sleep(0.01)
