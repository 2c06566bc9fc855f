"""The last stage: token ids to text, in whole characters."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from slipway.contract.manifest import open_engine
from slipway.contract.stage_names import engine_stage
from slipway.text.tokenizer import FILES, Tokenizer
from slipway.triton import engine_folder
from slipway.triton.stages import stage
from slipway.triton.stages.streams import Streams

# How often to check whether a stream's client left: asking Triton costs more than the rest of this stage.
_LOOK_EVERY_S = 0.25


class TritonPythonModel:
    """One tokenizer, and a detokenizer for each running stream.

    There is one instance only, so that the responses of a stream reach its detokenizer, in order.
    """

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the tokenizer; a damaged one makes the model unavailable, with its sentence as the reason."""
        directory = engine_folder.of_stage(args)
        manifest = open_engine(directory, FILES)
        self._engine_stage = engine_stage(manifest.name)
        self._compiled = manifest.target.compiled
        self._eos_token_ids = frozenset(manifest.eos_token_ids)
        self._streams = Streams(Tokenizer.load(directory))
        self._left: set[int] = set()  # streams that got a stop and still run
        self._checked: set[int] = set()  # streams that were checked in this interval
        self._checked_since = time.monotonic()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request: the text of its tokens, [beams] as upstream has it, and its inputs."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        tensors = stage.tensors(request)
        ids = tensors["TOKENS_BATCH"][0, 0, : tensors["SEQUENCE_LENGTH"].item()].tolist()
        stream = tensors["ARRIVAL_TIME"].item()
        # NVIDIA's engine model ends a cancelled stream without tokens and without the time of a last one.
        last = not ids or tensors["LAST_TOKEN_TIME"].item() > 0
        if last:
            self._left.discard(stream)
        elif not self._compiled and stream not in self._left and self._has_left(stream, request):
            self._left.add(stream)
            self._stop(stream)
        # Elsewhere in the answer it is an ordinary token: the client set ignore_eos.
        ended = last and bool(ids) and ids[-1] in self._eos_token_ids
        text = self._streams.push(stream, ids[:-1] if ended else ids, last)
        made = (
            pb_utils.Tensor("OUTPUT", stage.strings(text)),
            pb_utils.Tensor("END_OF_SEQUENCE", np.array([[ended]])),
        )
        return pb_utils.InferenceResponse([*made, *request.inputs()])

    def _has_left(self, stream: int, request: Any) -> bool:
        now = time.monotonic()
        if now - self._checked_since > _LOOK_EVERY_S:
            self._checked.clear()
            self._checked_since = now
        if stream in self._checked:
            return False
        self._checked.add(stream)
        left: bool = request.is_cancelled()
        return left

    def _stop(self, stream: int) -> None:
        """Tell the engine stage that the client left, which Triton tells this stage only.

        NVIDIA's engine model is not told: it never unloads after a `stop`. The answer runs to its end.
        """
        responses = pb_utils.InferenceRequest(
            model_name=self._engine_stage,
            request_id=str(stream),
            requested_output_names=[],
            inputs=[
                pb_utils.Tensor("input_lengths", np.array([[1]], np.int32)),
                pb_utils.Tensor("request_output_len", np.array([[1]], np.int32)),
                pb_utils.Tensor("stop", np.array([[True]])),
            ],
        ).exec(decoupled=True)
        # Read all responses: the stub of Triton 2.51 can deadlock when it cleans up after unread ones.
        for _ in responses:
            pass
