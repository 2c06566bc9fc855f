"""The engine stage: token ids to token ids, by an engine in a process of its own.

It takes the tensors of TensorRT-LLM's own engine model, so either can stand between the other two stages.
Triton 2.51 does not start a stage again when its process died. So the engine is a child process of the stage,
and is started again when it dies.
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import triton_python_backend_utils as pb_utils

from slipway.contract.errors import SlipwayError
from slipway.contract.manifest import Manifest
from slipway.runtime.worker.process import EngineProcess
from slipway.triton import engine_folder
from slipway.triton.stages import stage
from slipway.triton.stages.gauges import Gauges
from slipway.triton.stages.request import Array, EngineRequest, parse, wants_stop
from slipway.triton.stages.running_answers import RunningAnswers
from slipway.triton.stages.token_answer import TokenAnswer


class TritonPythonModel:
    """A running engine, and its answers on their way to Triton."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the engine; a refused one makes the model unavailable, with its sentence as the reason."""
        directory = engine_folder.of_stage(args)
        self._answers = RunningAnswers(lambda name: self._engine.cancel(name))
        self._engine = self._answers.wait_for(EngineProcess.start(directory))
        manifest = Manifest.read(directory)
        self._eos_token_ids = manifest.eos_token_ids
        self._gauges = Gauges(manifest.name)

    def execute(self, requests: Sequence[Any]) -> None:
        """Submit the requests to the engine and return; the answers are sent as they come."""
        stage.accept_each(requests, self._accept)

    def finalize(self) -> None:
        """Stop the engine. Running answers end as cancelled, and are sent before this returns."""
        self._answers.finish(self._engine.close())

    def _accept(self, tensors: Mapping[str, Array], request_id: str, sender: Any) -> None:
        if wants_stop(tensors):
            # A gateway sends a stop for no request to learn whether the engine is ready.
            self._engine.check()
            self._answers.stop(request_id)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            return
        self._begin(request_id, parse(tensors, self._eos_token_ids), sender)

    def _begin(self, request_id: str, request: EngineRequest, sender: Any) -> None:
        arrived = self._answers.arrival()
        self._answers.begin(str(arrived), request_id, sender, self._answer(arrived, request, sender))

    async def _answer(self, arrived: int, request: EngineRequest, sender: Any) -> None:
        answer = TokenAnswer(arrived, request)
        tokens = self._engine.generate(str(arrived), request.prompt_token_ids, request.sampling)
        try:
            async with aclosing(tokens) as deltas:
                async for delta in deltas:
                    self._gauges.show(self._engine.stats)
                    outputs = answer.outputs(delta)
                    if outputs is not None:
                        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if delta.finish_reason else 0
                        sender.send(stage.response(**outputs), flags=final)
        except SlipwayError as error:
            self._gauges.show(self._engine.stats)
            stage.refuse(sender, error)
