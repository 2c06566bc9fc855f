"""Clients that ask for streams and go away in the middle; another one asks small questions."""

import asyncio
import json
import random
from dataclasses import dataclass
from statistics import median

from bench.faults.target import MODEST, PLAIN, Target, first_token_s, first_tokens_until

_UNDISTURBED = 5


@dataclass(frozen=True, slots=True)
class VanishingClients:
    """Seconds to the first token of small questions: before, and at worst beside the clients that went."""

    undisturbed_s: float
    disturbed_s: float


async def vanish(target: Target, clients: int, at_once: int, stay_s: float) -> VanishingClients:
    """Let clients ask for long answers, `at_once` at the same time, and go after `stay_s` seconds at most."""
    stays = [random.Random(number).uniform(0, stay_s) for number in range(clients)]
    request = _request(target)
    places = asyncio.Semaphore(at_once)

    async def come_and_go(stay: float) -> None:
        async with places:
            _, writer = await asyncio.open_connection("127.0.0.1", target.port)
            writer.write(request)
            await asyncio.sleep(stay)
            writer.transport.abort()

    async with target.client(MODEST) as modest:
        undisturbed = median([await first_token_s(target, modest) for _ in range(_UNDISTURBED)])
        going = asyncio.gather(*map(come_and_go, stays))
        seconds = await first_tokens_until(going, target, modest)
        await going
    return VanishingClients(undisturbed, max(seconds))


def _request(target: Target) -> bytes:
    """A request for a stream that no client reads to its end."""
    body = json.dumps({**target.body(500), "stream": True}).encode()
    head = f"POST {PLAIN} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
