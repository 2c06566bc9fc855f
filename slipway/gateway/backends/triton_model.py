"""One model on a Triton server: all of a backend but `generate`, and the gRPC stream for it."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import nullcontext
from typing import Any

import grpc
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from slipway.contract import stage_errors
from slipway.contract.errors import EngineFailed, InvalidRequest, ModelUnavailable, SlipwayError
from slipway.contract.stage_names import preprocessing
from slipway.gateway.backends import triton_repository
from slipway.gateway.backends.open_calls import Arrived, OpenCalls
from slipway.gateway.backends.stage_probes import Probes, StageDead, StageSilent
from slipway.runtime.stats import EngineStats

# In Triton's messages about a model that takes no requests now. Only the text tells: the header
# triton_grpc_error would add a status, but with it tritonserver 2.51 crashes after some thousand errors.
_UNAVAILABLE = ("unknown model", "is not found", "is not ready", "maximum queue size")
# In those about a stage whose process gave no sign of life for a second (stub_launcher.cc and python_be.cc of
# Triton's Python backend).
_DEAD = ("is not healthy", "health mutex")
_READY_TIMEOUT_S = 2.0
# A stage answers a probe between two steps, or after a long prompt.
_PROBE_TIMEOUT_S = 4.0
# Asking before every request would add a round trip to each. If the model goes away, the request says so.
_READY_CACHED_S = 1.0
# gRPC's own pause between attempts to connect grows to two minutes, while the gateway waits for Triton to
# start. It would also use the proxy that http_proxy names, even for Triton on this machine.
_CHANNEL = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]
# A file or folder of two names at least, such as (/src/cpp/executor.cpp:12).
_PATH = re.compile(r" ?\(?(?<![\w/])(?:/[\w.+-]+){2,}(?::\d+)*\)?")

_log = logging.getLogger(__name__)


class TritonModel:
    """The part of a `Backend` that all models on Triton share. Made inside the running event loop.

    stages: whether the model is an ensemble, whose stages are unloaded with it.
    linger_s: how long the call of an unwanted answer may go on to its own end before it is cancelled.
    """

    stages = False
    linger_s = 0.1

    def __init__(
        self, name: str, url: str, tensors: frozenset[str], probes: Probes, called: str | None = None
    ) -> None:
        """tensors: every input and output that requests may name. probes: for its stages, by their names.

        called: the stage that gets the requests in place of the model.
        """
        self._name = name
        self._called = called or name
        self._url = url
        self._tensors = tensors
        self._probes = probes
        # Running answers have passed preprocessing, and do not need it any more.
        self._open = OpenCalls(lambda: self.ask_stages(without=preprocessing(name)))
        self._asking: asyncio.Task[dict[str, ModelUnavailable]] | None = None
        self._outdated = False
        self._client = InferenceServerClient(url, channel_args=_CHANNEL)
        self._background: set[asyncio.Task[None]] = set()
        self._ready_until = 0.0

    async def check(self) -> None:
        """Raise ModelUnavailable with the reason unless the model is ready; asks Triton once a second."""
        if time.monotonic() < self._ready_until:
            return
        try:
            ready = await self._client.is_model_ready(self._name, client_timeout=_READY_TIMEOUT_S)
        except InferenceServerException as error:
            raise ModelUnavailable(
                f"Triton at {self._url} does not answer ({error.status()}), so {self._name} is not ready; "
                "wait until Triton has started, or correct --triton-url."
            ) from None
        if not ready:
            why = await triton_repository.why_not_ready(self._client, self._name)
            raise ModelUnavailable(f"Triton at {self._url} does not have {self._name} ready: {why}.")
        self._ready_until = time.monotonic() + _READY_CACHED_S

    async def probe(self) -> None:
        """Ask Triton now whether the model is ready and has all tensors that requests may name.

        Asks its stages too. Raises ModelUnavailable with the reason.
        """
        self._ready_until = 0.0
        await self.check()
        await self._check_tensors()
        await self.ask_stages()

    async def ask_stages(self, without: str | None = None) -> None:
        """Ask each stage itself. Triton calls one ready that died, or whose engine starts again.

        without: a stage that does not matter. Raises StageDead when one has died, ModelUnavailable when one
        does not answer or takes no requests.
        """
        if self._asking is None or self._asking.done():
            # One question for all that want to know: a dead stage takes a second for each.
            self._asking = asyncio.create_task(self._stage_errors())
        errors = await asyncio.shield(self._asking)
        matter = [error for stage, error in errors.items() if stage != without]
        if matter:
            raise next((error for error in matter if isinstance(error, StageDead)), matter[0])

    async def load(self) -> None:
        """Load the model. Raises the errors of `triton_repository.load` and of `probe`."""
        await triton_repository.load(self._client, self._name)
        await self._check_tensors()

    async def unload(self) -> None:
        """Unload the model and its stages. Raises the errors of `triton_repository.load`."""
        try:
            await triton_repository.unload(self._client, self._name, self.stages)
        finally:
            self._ready_until = 0.0

    async def close(self) -> None:
        """Wait a moment for the calls that are being ended, and close the connection."""
        await self._open.close()
        if self._background:
            await asyncio.wait(self._background, timeout=self.linger_s)
        await self._client.close()

    @property
    def stats(self) -> EngineStats | None:
        """None: Triton publishes the figures on its own metrics port."""
        return None

    async def _responses(
        self,
        request_id: str,
        inputs: list[InferInput],
        outputs: Sequence[str] = (),
        model: str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[InferResult, None]:
        """Yield the model's responses to one request. Closing the generator ends the call.

        outputs: those to send back; empty means all. model: a stage that gets this request.
        timeout_s: until the last response. Raises ModelUnavailable, InvalidRequest or EngineFailed.
        """
        request = {
            "model_name": model or self._called,
            "request_id": request_id,
            "inputs": inputs,
            "outputs": [InferRequestedOutput(output) for output in outputs] or None,
        }
        call = self._client.stream_infer(_once(request), stream_timeout=timeout_s)
        arrived: Arrived = asyncio.Queue()
        reading = self._in_background(self._read(call, arrived))
        try:
            with self._open.watched(arrived) if model is None else nullcontext():
                while (response := await arrived.get()) is not None:
                    if isinstance(response, SlipwayError):
                        raise response
                    yield response
        finally:
            # A call that is cancelled at its last response may keep Triton (2.51) from ever unloading the
            # model: the gRPC service does not free the request (stream_infer_handler.cc). And a stop string
            # often comes up in the last tokens.
            if not reading.done():
                asyncio.get_running_loop().call_later(self.linger_s, call.cancel)

    async def _read(self, call: Any, arrived: Arrived) -> None:
        """Put each response of a call into `arrived`; at its end an error or None.

        A task of its own, because a call is cancelled with the task that waits for its next response.
        """
        try:
            async for result, error in call:
                arrived.put_nowait(result if error is None else self._typed(error.message()))
            arrived.put_nowait(None)
        except grpc.aio.AioRpcError as error:
            arrived.put_nowait(self._typed(error.details() or "", error.code()))
        except asyncio.CancelledError:
            arrived.put_nowait(ModelUnavailable(f"The connection to Triton at {self._url} was closed."))
            raise

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do `work` even when the caller is being cancelled."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _ask(self, stage: str, request_id: str, inputs: list[InferInput], timeout_s: float) -> None:
        """Send a stage a request and wait for its last response. Raises the same errors as `_responses`."""
        async for _ in self._responses(request_id, inputs, model=stage, timeout_s=timeout_s):
            pass

    async def _stage_errors(self) -> dict[str, ModelUnavailable]:
        asked = await asyncio.gather(*map(self._proof, self._probes))
        return {stage: error for stage, error in zip(self._probes, asked, strict=True) if error is not None}

    async def _proof(self, stage: str) -> ModelUnavailable | None:
        """Why the stage gives no proof that it takes requests; None if it does."""
        try:
            await self._ask(stage, secrets.token_hex(8), self._probes[stage], _PROBE_TIMEOUT_S)
        except ModelUnavailable as error:
            return error
        except SlipwayError as error:
            return StageSilent(f"{self._name} is not ready, because {stage} does not answer: {error}")
        return None

    async def _check_tensors(self) -> None:
        try:
            metadata = await self._client.get_model_metadata(self._called, client_timeout=_READY_TIMEOUT_S)
        except InferenceServerException as error:
            raise self._typed(error.message()) from None
        missing = self._tensors - {each.name for each in (*metadata.inputs, *metadata.outputs)}
        already_logged, self._outdated = self._outdated, bool(missing)
        if missing:
            outdated = self._other_version(f"it lacks {', '.join(sorted(missing))}")
            if not already_logged:  # an operator who waits for readiness reads the log
                _log.error("%s", outdated)
            raise outdated

    def _other_version(self, sign: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"Another version of Slipway wrote the models of {self._name} on Triton at {self._url} "
            f"({sign}); run `python -m build repository` on its engine, and restart Triton."
        )

    def _typed(self, message: str, code: grpc.StatusCode | None = None) -> SlipwayError:
        """Return Triton's error as a typed one. code: of a failed connection; a model's error has none."""
        kind, message = stage_errors.read(message)
        if kind is None:
            _log.debug("Triton's error in full: %s", message)
            message = _without_details(message)
        message = message.rstrip(".")
        if message.startswith("unexpected inference "):
            return self._other_version(message)
        if kind is InvalidRequest:
            return InvalidRequest(f"Triton refuses the request: {message}.")
        if any(words in message for words in _DEAD):
            return StageDead(
                f"A stage of {self._name} on Triton at {self._url} has died ({message}), and Triton must be "
                "started again; `slipway serve` and `slipway triton` do so by themselves."
            )
        unavailable = kind is ModelUnavailable or code == grpc.StatusCode.UNAVAILABLE
        if unavailable or any(words in message for words in _UNAVAILABLE):
            self._ready_until = 0.0
            return ModelUnavailable(f"Triton at {self._url} does not serve {self._name} now: {message}.")
        return EngineFailed(f"{self._name} failed on Triton: {message}.")


def _without_details(message: str) -> str:
    """The first line of an error of an engine, without the source files and folders that it names.

    TensorRT-LLM appends a line for each function on the stack.
    """
    return _PATH.sub("", message.strip().partition("\n")[0]).strip()


async def _once(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield request
