"""One client sends large bodies full of special tokens; another one asks small questions."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from statistics import median

import httpx

from bench.faults.target import CHAT, GREEDY, MODEST, Target, first_token_s, first_tokens_until

SPECIAL_TOKEN = "<|im_end|>"
_UNDISTURBED = 5


@dataclass(frozen=True, slots=True)
class LargeBodies:
    """statuses: how often each came. Seconds to the first token of small questions; memory in bytes."""

    statuses: dict[int, int]
    undisturbed_s: float
    disturbed_s: float
    memory_before: int
    memory_most: int
    memory_after: int


def large_body(target: Target, size: int) -> bytes:
    """A chat of about `size` bytes, with as many special tokens as fit."""
    message = {"role": "user", "content": SPECIAL_TOKEN * (size // len(SPECIAL_TOKEN))}
    return json.dumps({"model": target.model, "messages": [message]}).encode()


async def send_large_bodies(target: Target, count: int, size: int) -> LargeBodies:
    """Send `count` bodies at once. The last memory is measured three seconds after all were answered."""
    process, content = target.process(), large_body(target, size)
    headers = {"content-type": "application/json"}

    async def send(client: httpx.AsyncClient) -> int:
        return (await client.post(CHAT, content=content, headers=headers)).status_code

    async def watch(most: list[int]) -> None:
        while True:
            most.append(process.memory_info().rss)
            await asyncio.sleep(0.05)

    async with target.client(GREEDY) as greedy, target.client(MODEST) as modest:
        undisturbed = median([await first_token_s(target, modest) for _ in range(_UNDISTURBED)])
        memory = [process.memory_info().rss]
        watching = asyncio.create_task(watch(memory))
        sending = asyncio.gather(*(send(greedy) for _ in range(count)))
        seconds = await first_tokens_until(sending, target, modest)
        statuses = Counter(await sending)
    await asyncio.sleep(3)
    watching.cancel()
    after = process.memory_info().rss
    return LargeBodies(dict(statuses), undisturbed, max(seconds), memory[0], max(memory), after)
