"""The engine stage: token ids to token ids, by `runtime` in a process of its own; loaded by Triton.

It takes the tensors of TensorRT-LLM's own engine model, so either can stand between the other two stages.
Triton never starts a stage again whose process died (2.51), so the engine is a child of this one, which
`runtime.process` watches and replaces.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import triton_python_backend_utils as pb_utils

from engines.errors import InvalidRequest, SlipwayError
from engines.manifest import Manifest
from ensemble import stage
from ensemble.answer import Answer
from ensemble.gauges import Gauges
from ensemble.request import Array, EngineRequest, parse, wants_stop
from runtime.process import EngineProcess

# How often to look for clients that left: asking Triton about a request costs about as much as a response.
_LOOK_EVERY_S = 0.25

T = TypeVar("T")


class TritonPythonModel:
    """A running engine, and a thread with the event loop in which its answers go to Triton."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the engine; a refused one makes the model unavailable, with its sentence as the reason."""
        directory = stage.engine_dir(args)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="answers", daemon=True)
        self._thread.start()
        self._engine = self._await(EngineProcess.start(directory))
        manifest = Manifest.read(directory)
        self._eos_token_ids = manifest.eos_token_ids
        self._gauges = Gauges(manifest.name)
        self._arrived = 0  # when the last request did
        # Running answers by name: the client's request id, where the responses go, and who sends them.
        # Touched in the loop only.
        self._open: dict[str, tuple[str, Any, asyncio.Task[None]]] = {}
        self._looking = asyncio.run_coroutine_threadsafe(self._leave_the_gone(), self._loop)

    def execute(self, requests: Sequence[Any]) -> None:
        """Hand the requests to the engine and return; the answers go out as they come."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                self._accept(stage.tensors(request), request.request_id(), sender)
            except SlipwayError as error:
                _refuse(sender, error)

    def finalize(self) -> None:
        """Stop the engine: whatever still runs ends as cancelled, and hears so before this returns."""
        self._looking.cancel()
        self._await(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _accept(self, tensors: Mapping[str, Array], request_id: str, sender: Any) -> None:
        if wants_stop(tensors):
            self._stop(request_id)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            return
        request = parse(tensors, self._eos_token_ids)
        # Its arrival names a request, because clients may send no id, or the same one twice.
        self._arrived = max(self._arrived + 1, time.monotonic_ns())
        self._loop.call_soon_threadsafe(self._begin, self._arrived, request_id, request, sender)

    def _stop(self, request_id: str) -> None:
        """End what runs under a client's request id, or what arrived at this nanosecond.

        As upstream, an id that is not (or no longer) here is no error.
        """
        if not request_id:
            raise InvalidRequest(
                "stop is set without a request id; give the id of the request to end.", "stop"
            )
        self._loop.call_soon_threadsafe(self._cancel, request_id)

    def _cancel(self, request_id: str) -> None:
        for name, (client_id, _, _) in self._open.items():
            if request_id in (client_id, name):
                self._engine.cancel(name)

    def _begin(self, arrived: int, request_id: str, request: EngineRequest, sender: Any) -> None:
        task = self._loop.create_task(self._answer(arrived, request, sender))
        self._open[str(arrived)] = (request_id, sender, task)

    async def _answer(self, arrived: int, request: EngineRequest, sender: Any) -> None:
        name = str(arrived)
        answer = Answer(arrived, request)
        tokens = self._engine.generate(name, request.prompt_token_ids, request.sampling)
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
            _refuse(sender, error)
        finally:
            del self._open[name]

    async def _leave_the_gone(self) -> None:
        """Cancel what a client left that called this stage directly.

        Triton does not pass that on through an ensemble; there, postprocessing notices it.
        """
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for name, (_, sender, _) in self._open.items():
                if sender.is_cancelled():
                    self._engine.cancel(name)

    async def _close(self) -> None:
        await self._engine.close()
        if self._open:
            await asyncio.wait([task for _, _, task in self._open.values()])

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _refuse(sender: Any, error: SlipwayError) -> None:
    sender.send(stage.refusal(error), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
