"""ONNX Runtime GenAI's `og.Generator` on one of our engines: a static batch, whose rows end together."""

import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnxruntime_genai as og

from bench.peers import child
from slipway.runtime.cpu import exact_products

IMPOSSIBLE = -1e9


def load(threads: int, engine: str) -> child.Peer:
    """Load the engine folder `engine`."""
    config = og.Config(engine)
    options = {"intra_op_num_threads": threads, **exact_products()}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    model = og.Model(config)

    def generate(prompts: list[list[int]], max_tokens: int) -> list[int]:
        length = len(prompts[0]) + max_tokens
        params = og.GeneratorParams(model)
        # min_length keeps end-of-sequence from being chosen.
        params.set_search_options(
            do_sample=False, batch_size=len(prompts), min_length=length, max_length=length
        )
        generator = og.Generator(model, params)
        generator.append_tokens(np.array(prompts, dtype=np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        return [len(generator.get_sequence(row)) - len(prompts[row]) for row in range(len(prompts))]

    def score(windows: list[list[int]]) -> Iterator[list[float]]:
        for length in sorted({len(window) for window in windows}, reverse=True):
            yield from _score(model, np.array([each for each in windows if len(each) == length], np.int32))

    return child.Peer(f"onnxruntime-genai {og.__version__}", generate, score)


def _score(model: og.Model, windows: npt.NDArray[np.int32]) -> list[list[float]]:
    """The log-probabilities of windows of one length, int32 [rows, tokens], decoded as one batch.

    A running batch accepts no more tokens, so each token is forced: all others get an impossible logit.
    """
    rows, length = windows.shape
    params = og.GeneratorParams(model)
    params.set_search_options(do_sample=False, batch_size=rows, min_length=length, max_length=length)
    generator = og.Generator(model, params)
    generator.append_tokens(windows[:, :1])
    log_probs = np.empty((rows, length - 1))
    for position in range(1, length):
        logits, tokens = generator.get_logits()[:, -1], (np.arange(rows), windows[:, position])
        highest = logits.max(axis=-1)
        log_probs[:, position - 1] = logits[tokens] - highest
        log_probs[:, position - 1] -= np.log(np.exp(logits - highest[:, None]).sum(axis=-1, dtype=np.float64))
        forced = np.full((rows, 1, logits.shape[-1]), IMPOSSIBLE, np.float32)
        forced[tokens[0], 0, tokens[1]] = 0
        generator.set_logits(forced)
        generator.generate_next_token()
    scores: list[list[float]] = log_probs.tolist()
    return scores


if __name__ == "__main__":
    child.run(load)
