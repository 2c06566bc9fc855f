"""One answer of the engine stage: what `runtime` says, as output tensors; used by `ensemble.engine`."""

from collections.abc import Sequence

import numpy as np

from engines.generation import Delta
from ensemble.request import Array, EngineRequest


class Answer:
    """What one request has been answered so far.

    name: of its stream, unique in the stage; also the request's id in `runtime`.
    """

    def __init__(self, name: str, request: EngineRequest) -> None:
        self.name = name
        self._request = request
        self._ids: list[int] = []
        self._log_probs: list[float] = []
        self._cum_log_prob = 0.0

    def outputs(self, delta: Delta) -> list[dict[str, Array]]:
        """The responses that `delta` causes, each as output tensors by name.

        A stream gets the new tokens of each delta, and at its end a response without any: no final flag
        passes an ensemble, so this is what tells postprocessing that it may forget the stream. A whole
        answer gets one response at its end, with the prompt before it if asked for.
        """
        self._cum_log_prob += sum(delta.log_probs)
        if self._request.streaming:
            new = [(delta.token_ids, delta.log_probs)] if delta.token_ids else []
            end = [((), ())] if delta.finish_reason else []
            return [self._tensors(self.name, ids, len(ids), log_probs) for ids, log_probs in new + end]
        self._ids += delta.token_ids
        self._log_probs += delta.log_probs
        if not delta.finish_reason:
            return []
        prompt = self._request.prompt_token_ids if self._request.echo else ()
        return [self._tensors("", [*prompt, *self._ids], len(self._ids), self._log_probs)]

    def _tensors(
        self, stream: str, ids: Sequence[int], count: int, log_probs: Sequence[float]
    ) -> dict[str, Array]:
        """Shapes [1 (batch), 1 (beam), …] as upstream's, the stream's name [1, 1]."""
        tensors: dict[str, Array] = {
            "output_ids": np.array([[ids]], np.int32),
            "sequence_length": np.array([[len(ids)]], np.int32),
            "stream_name": np.array([[stream.encode()]], object),
        }
        if self._request.sampling.log_probs:
            tensors["output_log_probs"] = np.array([[log_probs]], np.float32)
            tensors["cum_log_probs"] = np.array([[self._cum_log_prob]], np.float32)
        if self._request.count_input:
            tensors["num_input_tokens"] = np.array([[len(self._request.prompt_token_ids)]], np.int32)
        if self._request.count_output:
            tensors["num_output_tokens"] = np.array([[count]], np.int32)
        return tensors
