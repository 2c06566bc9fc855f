"""The loop of a peer's process: batches in, counts and seconds out; called by every file beside this one.

One JSON object per line, as `bench.contestant` speaks it:

out, once, when the model is loaded:  {"ready": "name and version"}
in, per batch:   {"prompts": [[token id, ...], ...], "max_tokens": n}
out, per batch:  {"tokens": [number of output tokens of each prompt], "seconds": s}

The seconds run from the prompts, as token ids, to the last token of the last answer. The process ends when
its standard input does; why it failed is the last line of its standard error.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """A loaded engine.

    version: name and version, for the results.
    generate: runs prompts of equal length (token ids) at the same time, greedily, past end-of-sequence up to
        max_tokens each, and returns how many tokens each answer has.
    """

    version: str
    generate: Callable[[list[list[int]], int], list[int]]


def run(load: Callable[..., Peer]) -> None:
    """Load a peer with `load(threads, *paths)` from the command line, and answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between the answers
    threads, *arguments = sys.argv[1:]
    peer = load(int(threads), *arguments)
    print(json.dumps({"ready": peer.version}), file=answers)
    for line in sys.stdin:
        batch = json.loads(line)
        started = time.perf_counter()
        tokens = peer.generate(batch["prompts"], batch["max_tokens"])
        seconds = time.perf_counter() - started
        print(json.dumps({"tokens": tokens, "seconds": seconds}), file=answers)
