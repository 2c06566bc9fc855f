"""The engine stage: token ids to token ids, by `runtime` in this process; loaded by Triton.

It takes the tensors of TensorRT-LLM's own engine model, so either can stand between the other two stages.
"""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import triton_python_backend_utils as pb_utils

from engines.errors import InvalidRequest, SlipwayError
from engines.generation import Delta
from ensemble import stage
from ensemble.answer import Answer
from ensemble.gauges import Gauges
from ensemble.request import Array, parse, wants_stop
from runtime.engine import Engine

# How often to look for clients that left: that asks Triton about each request, too dear for every token.
_LOOK_EVERY_S = 0.1


class TritonPythonModel:
    """A running engine, and one thread that talks to Triton, so that the engine never waits for it."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the engine; a refused one makes the model unavailable, with its sentence as the reason."""
        # What the talking thread is to do, in order; None ends it.
        self._to_do: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._engine = Engine(stage.engine_dir(args), after_step=partial(self._to_do.put, self._show_load))
        self._numbers = itertools.count()
        # Running answers by name: the client's request id, and where the responses go.
        self._open: dict[str, tuple[str, Any]] = {}
        self._gauges = Gauges(self._engine.manifest.name)
        self._talker = threading.Thread(target=self._talk, name="talker", daemon=True)
        self._talker.start()

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
        self._engine.close()
        self._to_do.put(None)
        self._talker.join()

    def _accept(self, tensors: Mapping[str, Array], request_id: str, sender: Any) -> None:
        if wants_stop(tensors):
            self._stop(request_id)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            return
        request = parse(tensors, self._engine.manifest.eos_token_ids)
        # A name of our own, because clients may send no id, or the same one twice.
        answer = Answer(f"{request_id}/{next(self._numbers)}", request)
        self._open[answer.name] = (request_id, sender)
        try:
            self._engine.submit(
                answer.name,
                request.prompt_token_ids,
                request.sampling,
                lambda event: self._to_do.put(partial(self._send, answer, sender, event)),
            )
        except SlipwayError:
            del self._open[answer.name]
            raise
        self._to_do.put(self._show_load)

    def _stop(self, request_id: str) -> None:
        """End what runs under a client's request id, or under the name that the stream has here.

        As upstream, an id that is not (or no longer) here is no error.
        """
        if not request_id:
            raise InvalidRequest(
                "stop is set without a request id; give the id of the request to end.", "stop"
            )
        for name, (client_id, _) in list(self._open.items()):
            if request_id in (client_id, name):
                self._engine.cancel(name)

    def _talk(self) -> None:
        look_at = time.monotonic()
        while True:
            try:
                do = self._to_do.get(timeout=_LOOK_EVERY_S if self._open else None)
            except queue.Empty:
                do = self._leave_the_gone
            if do is None:
                return
            do()
            if time.monotonic() >= look_at:
                self._leave_the_gone()
                look_at = time.monotonic() + _LOOK_EVERY_S

    def _send(self, answer: Answer, sender: Any, event: Delta | SlipwayError) -> None:
        if isinstance(event, SlipwayError):
            del self._open[answer.name]
            _refuse(sender, event)
            return
        made = answer.outputs(event)
        last = made.pop() if event.finish_reason else None
        for outputs in made:
            sender.send(stage.response(**outputs))
        if last is not None:
            del self._open[answer.name]
            sender.send(stage.response(**last), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _leave_the_gone(self) -> None:
        """Cancel what a client left that called this stage directly.

        Triton does not pass that on through an ensemble; there, postprocessing notices it.
        """
        for name, (_, sender) in list(self._open.items()):
            if sender.is_cancelled():
                self._engine.cancel(name)

    def _show_load(self) -> None:
        self._gauges.show(self._engine.stats)


def _refuse(sender: Any, error: SlipwayError) -> None:
    sender.send(stage.refusal(error), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
