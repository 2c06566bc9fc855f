"""What it costs that a chat template renders in a process of its own."""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from slipway.runtime.isolated.template import IsolatedTemplate
from slipway.text.template import ChatTemplate, TemplateSource
from slipway.text.tokenizer import Tokenizer

_ROUNDS = 300
_TEXT = "How is the weather in Seoul today? 서울의 날씨가 어때요? "


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of one rendering. cpu_ms: of the server's process. both_cpu_ms: with the other one."""

    wall_ms: float
    cpu_ms: float
    both_cpu_ms: float


@dataclass(frozen=True, slots=True)
class RenderingCost:
    """By conversation: in the server's own process, and in one of its own."""

    here: Mapping[str, Cost]
    apart: Mapping[str, Cost]


def measure_rendering(engine: Path) -> RenderingCost:
    """Render conversations with the template of this engine, both ways by turns."""
    source = TemplateSource.read(engine, Tokenizer.load(engine).special_tokens)
    here: dict[str, Cost] = {}
    apart: dict[str, Cost] = {}
    with closing(IsolatedTemplate(source)) as isolated:
        in_place = ChatTemplate.of(source)
        for name, messages in _conversations().items():
            here[name], apart[name] = _costs(in_place.render, isolated.render, messages)
    return RenderingCost(here, apart)


def _conversations() -> dict[str, list[dict[str, Any]]]:
    def chat(turns: int, size: int) -> list[dict[str, Any]]:
        text = (_TEXT * (size // len(_TEXT) + 1))[:size]
        return [{"role": ("user", "assistant")[turn % 2], "content": text} for turn in range(turns)]

    return {"1 message": chat(1, 200), "11 messages": chat(11, 200), "200,000 characters": chat(11, 18_182)}


def _costs(
    here: Callable[..., str], apart: Callable[..., str], messages: list[dict[str, Any]]
) -> tuple[Cost, Cost]:
    ways = (here, apart)
    walls: tuple[list[float], list[float]] = ([], [])
    cpu, both = [0.0, 0.0], [0.0, 0.0]
    for render in ways:
        render(messages)
    child = psutil.Process().children()[0]
    for _ in range(_ROUNDS):
        for way, render in enumerate(ways):
            before = time.process_time(), _cpu_s(child), time.perf_counter()
            render(messages)
            after = time.process_time(), _cpu_s(child), time.perf_counter()
            walls[way].append(after[2] - before[2])
            cpu[way] += after[0] - before[0]
            both[way] += after[0] - before[0] + after[1] - before[1]
    first, second = (
        Cost(*(round(1000 * seconds, 3) for seconds in (median(wall), own / _ROUNDS, total / _ROUNDS)))
        for wall, own, total in zip(walls, cpu, both, strict=True)
    )
    return first, second


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
