"""A chat template that does harm at some messages; another client chats with the same model meanwhile."""

import asyncio
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
import psutil

from bench.faults.target import CHAT, GREEDY, MODEST, Target
from slipway.contract import manifest
from slipway.contract.manifest import FileDigest, Manifest
from slipway.text.template import FILE_NAME

_NESTED = "{% set ns = namespace(x=START) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}"
# What the template does when the last message has this name. Python does each of the first four in one step.
ATTACKS: Mapping[str, str] = {
    "tuples in tuples as a key": _NESTED.replace("START", "(1, 2)") + "{{ {ns.x: 1} }}",
    "lists in lists compared": _NESTED.replace("START", "[1]")
    + "{% set left = ns.x %}"
    + _NESTED.replace("START", "[1]")
    + "{{ left == ns.x }}",
    "10,000,000 characters wrapped": "{{ ('a ' * 5000000)|wordwrap(1) }}",
    "60,000,000 characters counted": "{{ ('a ' * 30000000)|wordcount }}",
    "a loop in a loop": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a text of 1,000,000,000 characters": "{{ messages[0].role * 10**9 }}",
    "a macro that calls itself": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a power of a power": "{{ 10**(10**10) if messages }}",
}
_UNDISTURBED = 5


@dataclass(frozen=True, slots=True)
class Stop:
    """How the server stopped an attack. code: of the error."""

    status: int
    code: str
    seconds: float


@dataclass(frozen=True, slots=True)
class HostileTemplates:
    """Seconds of a small chat; memory of the server and its children in bytes."""

    stopped: Mapping[str, Stop]
    undisturbed_s: float
    disturbed_s: float
    memory_before: int
    memory_most: int


def hostile_engine(engine: Path, folder: Path) -> Path:
    """A copy of an engine below `folder`, under a name of its own, whose chat template has the attacks."""
    name = f"hostile-{engine.name}"
    copy = shutil.copytree(engine, folder / name)
    choices = "".join(
        f"{{% {'elif' if at else 'if'} said == {name!r} %}}{attack}"
        for at, (name, attack) in enumerate(ATTACKS.items())
    )
    path = copy / FILE_NAME
    kind = "{% set said = messages[-1].content %}"
    path.write_text(f"{kind}{choices}{{% else %}}{path.read_text()}{{% endif %}}")
    built = Manifest.read(copy)
    files = {**built.files, FILE_NAME: FileDigest.of(path)}
    (copy / manifest.FILE_NAME).write_text(
        built.model_copy(update={"name": name, "files": files}).model_dump_json()
    )
    return copy


async def send_attacks(target: Target, names: Sequence[str] = tuple(ATTACKS)) -> HostileTemplates:
    """Send these attacks at once. The target serves a `hostile_engine`."""
    process = target.process()

    async def attack(client: httpx.AsyncClient, name: str) -> Stop:
        started = time.perf_counter()
        response = await client.post(CHAT, content=_chat(target, name), headers=_JSON)
        code = response.json().get("error", {}).get("code", "none")
        return Stop(response.status_code, code, time.perf_counter() - started)

    async with target.client(GREEDY) as greedy, target.client(MODEST) as modest:
        undisturbed = median([await _chat_s(target, modest) for _ in range(_UNDISTURBED)])
        before = most = _memory(process)
        sending = asyncio.gather(*(attack(greedy, name) for name in names))
        seconds = [0.0]
        while not sending.done():
            seconds.append(await _chat_s(target, modest))
            most = max(most, _memory(process))
            await asyncio.sleep(0.1)
        stopped = dict(zip(names, await sending, strict=True))
    return HostileTemplates(stopped, undisturbed, max(seconds), before, most)


_JSON = {"content-type": "application/json"}


def _chat(target: Target, said: str) -> bytes:
    message = {"role": "user", "content": said}
    return json.dumps({"model": target.model, "messages": [message], "max_tokens": 4}).encode()


async def _chat_s(target: Target, client: httpx.AsyncClient) -> float:
    started = time.perf_counter()
    response = await client.post(CHAT, content=_chat(target, "Hi"), headers=_JSON)
    response.raise_for_status()
    return time.perf_counter() - started


def _memory(server: psutil.Process) -> int:
    total = 0
    for process in (server, *server.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
