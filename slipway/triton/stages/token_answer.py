"""One answer of the engine stage: the deltas of the engine as output tensors."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slipway.contract.generation import Delta, PromptLogProbs, TopLogProbs
from slipway.triton.stages.request import Array, EngineRequest


class TokenAnswer:
    """The answer to one request so far.

    arrived: nanoseconds of the steady clock, unique to the request.
    """

    def __init__(self, arrived: int, request: EngineRequest) -> None:
        self._request = request
        self._ids: list[int] = []
        self._log_probs: list[float] = []
        self._top: list[TopLogProbs] = []
        self._cached: int | None = None
        self._prompt: PromptLogProbs | None = None
        self._cum_log_prob = 0.0
        self._arrived = arrived
        self._first_token = 0
        self._last_token = 0

    def outputs(self, delta: Delta) -> dict[str, Array] | None:
        """The response for `delta`, as output tensors by name; None where there is none.

        A streaming request gets a response for each delta with new tokens, and for the last delta. Another
        request gets one response, at the end, which begins with the prompt if the request asks for that.
        """
        self._cum_log_prob += sum(delta.log_probs)
        now = time.monotonic_ns()
        self._first_token = self._first_token or now
        self._last_token = now if delta.finish_reason else 0
        self._cached = delta.cached_tokens if self._cached is None else self._cached
        self._prompt = self._prompt or delta.prompt
        if self._request.streaming:
            if not delta.token_ids and not delta.finish_reason:
                return None
            return self._tensors(delta, delta.token_ids, len(delta.token_ids))
        self._ids += delta.token_ids
        self._log_probs += delta.log_probs
        self._top += delta.top_log_probs
        if not delta.finish_reason:
            return None
        prompt = self._request.prompt_token_ids if self._request.echo else ()
        whole = replace(
            delta,
            log_probs=tuple(self._log_probs),
            top_log_probs=tuple(self._top),
            cached_tokens=self._cached,
            prompt=self._prompt,
        )
        return self._tensors(whole, [*prompt, *self._ids], len(self._ids))

    def _tensors(self, delta: Delta, ids: Sequence[int], count: int) -> dict[str, Array]:
        """Shapes [1 (batch), 1 (beam), …] as upstream's; times in nanoseconds, 0 if not yet."""
        tensors: dict[str, Array] = {
            "output_ids": np.array([[ids]], np.int32),
            "sequence_length": np.array([[len(ids)]], np.int32),
        }
        if self._request.sampling.log_probs:
            tensors["output_log_probs"] = np.array([[delta.log_probs]], np.float32)
            tensors["cum_log_probs"] = np.array([[self._cum_log_prob]], np.float32)
        if self._request.count_input:
            tensors["num_input_tokens"] = np.array([[len(self._request.prompt_token_ids)]], np.int32)
        if self._request.count_output:
            tensors["num_output_tokens"] = np.array([[count]], np.int32)
        if self._request.times:
            tensors["arrival_time_ns"] = np.array([[self._arrived]], np.int64)
            tensors["first_token_time_ns"] = np.array([[self._first_token]], np.int64)
            tensors["last_token_time_ns"] = np.array([[self._last_token]], np.int64)
        if delta.cached_tokens is not None:
            tensors["cached_tokens"] = np.array([[delta.cached_tokens]], np.int32)
        if delta.finish_reason is not None:
            tensors["finish_reason"] = np.array([[delta.finish_reason.encode()]], object)
        if self._request.sampling.top_log_probs:
            tops = _padded(delta.top_log_probs, self._request.sampling.top_log_probs)
            tensors |= {"top_log_prob_ids": tops[0][None, None], "top_log_probs": tops[1][None, None]}
        if delta.prompt is not None and delta.prompt.log_probs:
            tensors |= _of_prompt(delta.prompt, self._request.sampling.prompt_log_probs or 0)
        return tensors


def _of_prompt(prompt: PromptLogProbs, count: int) -> dict[str, Array]:
    tensors: dict[str, Array] = {
        "prompt_log_probs": np.array([prompt.log_probs], np.float32),
        "prompt_ranks": np.array([prompt.ranks], np.int32),
    }
    if not count:
        return tensors
    ids, log_probs = _padded(prompt.top, count)
    return tensors | {"top_prompt_log_prob_ids": ids[None], "top_prompt_log_probs": log_probs[None]}


def _padded(tops: Sequence[TopLogProbs], count: int) -> tuple[Array, Array]:
    """Ids and log-probabilities, [tokens, count]; an id of -1 pads a row."""
    ids = np.full((len(tops), count), -1, np.int32)
    log_probs = np.zeros(ids.shape, np.float32)
    for position, top in enumerate(tops):
        ids[position, : len(top.token_ids)] = top.token_ids
        log_probs[position, : len(top.log_probs)] = top.log_probs
    return ids, log_probs
