"""The loop of a peer's process: batches and texts in, times and log-probabilities out.

One JSON object per line:

out, once, when the model is loaded:  {"ready": "name and version"}
in, per batch:   {"prompts": [[token id, ...], ...], "max_tokens": n}
out, per batch:  {"tokens": [number of output tokens of each prompt], "seconds": s}
in, per text:    {"windows": [[token id, ...], ...]}
out, per window: {"log_probs": [natural logarithm of the probability of each token but the first]}

The seconds run from the prompts, as token ids, to the last token of the last answer. The process ends with
its standard input. When it fails, the last line of its standard error is the reason.
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

    version: name and version.
    generate: takes prompts of equal length (token ids) and max_tokens. Runs them at the same time, greedily,
        past end-of-sequence. Returns the number of tokens of each answer.
    score: takes windows of token ids. Returns, in order, the log-probabilities of each window: one for each
        token but the first, given the tokens before it in the window. Not timed.
    """

    version: str
    generate: Callable[[list[list[int]], int], list[int]]
    score: Callable[[list[list[int]]], Iterable[list[float]]]


def run(load: Callable[..., Peer]) -> None:
    """Load a peer with `load(threads, *arguments)` from the command line, and answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # the output of libraries must not mix with the answers
    threads, *arguments = sys.argv[1:]
    peer = load(int(threads), *arguments)
    print(json.dumps({"ready": peer.version}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        if "windows" in request:
            for log_probs in peer.score(request["windows"]):
                print(json.dumps({"log_probs": log_probs}), file=answers)
            continue
        started = time.perf_counter()
        tokens = peer.generate(request["prompts"], request["max_tokens"])
        seconds = time.perf_counter() - started
        print(json.dumps({"tokens": tokens, "seconds": seconds}), file=answers)
