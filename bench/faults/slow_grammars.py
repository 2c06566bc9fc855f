"""One client sends grammars that take five seconds to be refused; another one sends a small schema."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx

from bench.faults.target import CHAT, GREEDY, MODEST, Target, first_token_s

_numbers = count()


@dataclass(frozen=True, slots=True)
class SlowGrammars:
    """statuses: of the slow grammars. Seconds of a small schema that is new, of a small question without one,
    and of a slow grammar that is sent again.
    """

    statuses: dict[int, int]
    schema_s: float
    question_s: float
    again_s: float


def slow_schema(number: int) -> dict[str, Any]:
    """A schema that does not compile within a minute; another one for each number."""
    patterns = [{"type": "string", "pattern": f".*{each}.*"} for each in range(80)]
    return {"title": f"{number}", "allOf": patterns}


def small_schema() -> dict[str, Any]:
    """A schema that no request has had before."""
    field = f"field{next(_numbers)}"
    return {"type": "object", "properties": {field: {"type": "boolean"}}, "required": [field]}


async def ask_by_schema(
    target: Target, client: httpx.AsyncClient, schema: dict[str, Any]
) -> tuple[int, float]:
    """The status of a short answer by this schema, and its seconds."""
    body = {
        "model": target.model,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 8,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    }
    started = time.perf_counter()
    response = await client.post(CHAT, content=json.dumps(body), headers={"content-type": "application/json"})
    return response.status_code, time.perf_counter() - started


async def send_slow_grammars(target: Target, slow: int) -> SlowGrammars:
    """Send several slow grammars at once."""
    async with target.client(GREEDY) as greedy, target.client(MODEST) as modest:
        await ask_by_schema(target, modest, small_schema())
        sending = asyncio.gather(*(ask_by_schema(target, greedy, slow_schema(at)) for at in range(slow)))
        await asyncio.sleep(1)
        question = asyncio.create_task(first_token_s(target, modest))
        _, schema_s = await ask_by_schema(target, modest, small_schema())
        question_s = await question
        statuses = Counter(status for status, _ in await sending)
        _, again = await ask_by_schema(target, greedy, slow_schema(0))
    return SlowGrammars(dict(statuses), schema_s, question_s, again)
