"""Timed batches in process, one JSON object per line: how `python -m bench runtime` measures this engine.

out, once:       {"ready": "name and version"}
in, per batch:   {"prompts": [[token id, ...], ...], "max_tokens": n}
out, per batch:  {"tokens": [number of output tokens of each prompt], "seconds": s, "session_s": s}

The seconds run from the prompts, as token ids, to the last token of the last answer; session_s is how many of
them the engine was inside onnxruntime. Answers are greedy and go past end-of-sequence. Called by the command
`measure`.
"""

import json
import queue
import time
from collections.abc import Iterable, Iterator
from functools import partial

from engines.errors import SlipwayError
from engines.generation import SamplingParams
from runtime.engine import Engine
from runtime.sequence import Event


def timed_batches(engine: Engine, batches: Iterable[str]) -> Iterator[str]:
    """The lines for the batches, each as soon as its batch is done.

    Raises the SlipwayError with which a request was refused or ended.
    """
    manifest = engine.manifest
    yield json.dumps({"ready": f"slipway {manifest.versions['slipway']}, {manifest.quantization}"})
    for line in batches:
        batch = json.loads(line)
        session_s, started = engine.session_s, time.perf_counter()
        tokens = _run(engine, batch["prompts"], batch["max_tokens"])
        seconds, session_s = time.perf_counter() - started, engine.session_s - session_s
        yield json.dumps({"tokens": tokens, "seconds": seconds, "session_s": session_s})


def _run(engine: Engine, prompts: list[list[int]], max_tokens: int) -> list[int]:
    """Submit all prompts at once and count the tokens of each answer."""
    events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
    sampling = SamplingParams(max_tokens=max_tokens, temperature=0.0, ignore_eos=True)
    for index, prompt in enumerate(prompts):
        engine.submit(str(index), prompt, sampling, partial(_put, events, index))
    tokens = [0] * len(prompts)
    running = len(prompts)
    while running:
        index, event = events.get()
        if isinstance(event, SlipwayError):
            raise event
        tokens[index] += event.token_count
        running -= event.finish_reason is not None
    return tokens


def _put(events: "queue.SimpleQueue[tuple[int, Event]]", index: int, event: Event) -> None:
    events.put((index, event))
