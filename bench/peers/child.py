"""The loop of a peer's process: batches and texts in, figures out; called by every file beside this one.

One JSON object per line, as `bench.contestant` speaks it:

out, once, when the model is loaded:  {"ready": "name and version"}
in, per batch:   {"prompts": [[token id, ...], ...], "max_tokens": n}
out, per batch:  {"tokens": [number of output tokens of each prompt], "seconds": s}
in, per text:    {"windows": [[token id, ...], ...]}
out, per window: {"log_probs": [natural logarithm of the probability of each token but the first]}

The seconds run from the prompts, as token ids, to the last token of the last answer. The process ends when
its standard input does; why it failed is the last line of its standard error.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """A loaded engine.

    version: name and version, for the results.
    generate: runs prompts of equal length (token ids) at the same time, greedily, past end-of-sequence up to
        max_tokens each, and returns how many tokens each answer has.
    foretell: for each window (token ids), in order, the log-probability of each token but the first, given
        those before it in its window. Not timed.
    """

    version: str
    generate: Callable[[list[list[int]], int], list[int]]
    foretell: Callable[[list[list[int]]], Iterable[list[float]]]


def run(load: Callable[..., Peer]) -> None:
    """Load a peer with `load(threads, *paths)` from the command line, and answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between the answers
    threads, *arguments = sys.argv[1:]
    peer = load(int(threads), *arguments)
    print(json.dumps({"ready": peer.version}), file=answers)
    for line in sys.stdin:
        asked = json.loads(line)
        if "windows" in asked:
            for log_probs in peer.foretell(asked["windows"]):
                print(json.dumps({"log_probs": log_probs}), file=answers)
            continue
        started = time.perf_counter()
        tokens = peer.generate(asked["prompts"], asked["max_tokens"])
        seconds = time.perf_counter() - started
        print(json.dumps({"tokens": tokens, "seconds": seconds}), file=answers)
