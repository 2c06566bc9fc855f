"""Bodies that are nearly right: the examples of the API, each changed at one or two random places."""

import asyncio
import copy
import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx

from bench.faults.target import GREEDY, Target
from slipway.gateway.app import EXAMPLES
from slipway.gateway.model_control import EXAMPLES as OF_CONTROL

_PATIENCE_S = 60.0
# How long answers are stays as it is, or some would take minutes.
_LENGTHS = {"max_tokens": 4, "max_output_tokens": 16}
_ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**31, 2**63, 2**64, 1e308, -0.0, 0.5, float("nan"), float("inf")),
    *(
        "",
        " ",
        "\x00",
        "\ud800",
        "\U0001f600" * 50,
        "a" * 5000,
        "<|im_end|>",
        "{{ 7 * 7 }}",
        "../../etc",
        "%s%n",
    ),
    *([], {}, [[]], [{}], [None], {"": None}, {"type": "x"}, [0] * 100, {"type": "text", "text": []}),
)


@dataclass(frozen=True, slots=True)
class MutatedBodies:
    """statuses: how often each came. hung: requests without an answer in a minute.

    failed: some of the bodies that brought a 5xx or no answer.
    """

    statuses: dict[int, int]
    hung: int
    failed: tuple[str, ...]


async def send_mutated_bodies(target: Target, count: int, at_once: int = 16, seed: int = 0) -> MutatedBodies:
    """Send `count` bodies, the same ones for each seed."""
    rng = random.Random(seed)
    bodies = iter([mutated(rng, target.model) for _ in range(count)])
    statuses: Counter[int] = Counter()
    failed: list[str] = []
    hung = 0

    async def send(client: httpx.AsyncClient) -> None:
        nonlocal hung
        for path, body in bodies:
            try:
                response = await client.post(
                    path, content=body, headers={"content-type": "application/json"}, timeout=_PATIENCE_S
                )
            except httpx.TransportError as error:
                hung += 1
                failed.append(f"{error!r}: {path} {body[:300]!r}")
                continue
            statuses[response.status_code] += 1
            # A stream that has begun has its error as an event.
            if response.status_code >= 500 or b'"server_error"' in response.content:
                failed.append(f"{response.status_code}: {path} {body[:300]!r}")

    async with target.client(GREEDY) as client:
        await asyncio.gather(*(send(client) for _ in range(at_once)))
    return MutatedBodies(dict(sorted(statuses.items())), hung, tuple(failed[:5]))


def mutated(rng: random.Random, model: str) -> tuple[str, bytes]:
    """A path and a body for it, changed at one or two places."""
    path = rng.choice([path for path in EXAMPLES if path not in OF_CONTROL])
    example = rng.choice(list(EXAMPLES[path].asked.values()))
    body: dict[str, Any] = json.loads(json.dumps({"model": model, **example}))
    lengths = {name: length for name, length in _LENGTHS.items() if name in body}
    for _ in range(rng.choice((1, 1, 2))):
        _change(rng, body)
    content = json.dumps({**body, **lengths}).encode()
    # One in eight is no JSON any more, or another.
    if rng.random() < 1 / 8:
        at = rng.randrange(len(content))
        return path, rng.choice([content[:at], content[:at] + rng.randbytes(2) + content[at + 1 :]])
    return path, content


def _change(rng: random.Random, body: dict[str, Any]) -> None:
    """Replace, remove or add something, anywhere in the body."""
    places = [place for place in _places(body) if place[1] not in ("model", "timeout", *_LENGTHS)]
    if not places:
        return
    holder, key = rng.choice(places)
    action = rng.random()
    if action < 0.6:
        holder[key] = _odd(rng)
    elif action < 0.75:
        del holder[key]
    elif action < 0.9 and isinstance(holder, dict):
        holder[rng.choice(("n", "stop", "seed", "tools", "logit_bias", "temperature", "unknown"))] = _odd(rng)
    else:
        holder[key] = [holder[key]] * rng.choice((1, 3))


def _odd(rng: random.Random) -> Any:
    """A value of its own, because a later change may be inside of it."""
    return copy.deepcopy(rng.choice(_ODD))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value: what holds it, and its key or number in there."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    found = [(value, key) for key, _ in entries]
    return found + [place for holder, key in list(found) for place in _places(holder[key])]
