"""One answer of the engine stage: what `runtime` says, as output tensors; used by `ensemble.engine`."""

import time
from collections.abc import Sequence

import numpy as np

from engines.generation import Delta
from ensemble.request import Array, EngineRequest


class Answer:
    """What one request has been answered so far.

    arrived: nanoseconds of the steady clock, unlike those of any other request.
    """

    def __init__(self, arrived: int, request: EngineRequest) -> None:
        self._request = request
        self._ids: list[int] = []
        self._log_probs: list[float] = []
        self._cum_log_prob = 0.0
        self._arrived = arrived
        self._first_token = 0
        self._last_token = 0

    def outputs(self, delta: Delta) -> dict[str, Array] | None:
        """The response that `delta` causes, as output tensors by name.

        A stream gets the new tokens of each delta, of which the last may have none. A whole answer gets one
        response at its end, with the prompt before it if asked for.
        """
        self._cum_log_prob += sum(delta.log_probs)
        now = time.monotonic_ns()
        self._first_token = self._first_token or now
        self._last_token = now if delta.finish_reason else 0
        if self._request.streaming:
            if not delta.token_ids and not delta.finish_reason:
                return None
            return self._tensors(delta.token_ids, len(delta.token_ids), delta.log_probs)
        self._ids += delta.token_ids
        self._log_probs += delta.log_probs
        if not delta.finish_reason:
            return None
        prompt = self._request.prompt_token_ids if self._request.echo else ()
        return self._tensors([*prompt, *self._ids], len(self._ids), self._log_probs)

    def _tensors(self, ids: Sequence[int], count: int, log_probs: Sequence[float]) -> dict[str, Array]:
        """Shapes [1 (batch), 1 (beam), …] as upstream's; times in nanoseconds, 0 for what was not yet."""
        tensors: dict[str, Array] = {
            "output_ids": np.array([[ids]], np.int32),
            "sequence_length": np.array([[len(ids)]], np.int32),
        }
        if self._request.sampling.log_probs:
            tensors["output_log_probs"] = np.array([[log_probs]], np.float32)
            tensors["cum_log_probs"] = np.array([[self._cum_log_prob]], np.float32)
        if self._request.count_input:
            tensors["num_input_tokens"] = np.array([[len(self._request.prompt_token_ids)]], np.int32)
        if self._request.count_output:
            tensors["num_output_tokens"] = np.array([[count]], np.int32)
        if self._request.times:
            tensors["arrival_time_ns"] = np.array([[self._arrived]], np.int64)
            tensors["first_token_time_ns"] = np.array([[self._first_token]], np.int64)
            tensors["last_token_time_ns"] = np.array([[self._last_token]], np.int64)
        return tensors
