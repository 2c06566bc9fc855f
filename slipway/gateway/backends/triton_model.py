"""One model on a Triton server: a gRPC stream per request, errors typed; used by `triton` and `llmapi`."""

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from slipway.contract import stage_errors
from slipway.contract.errors import EngineFailed, InvalidRequest, ModelUnavailable, SlipwayError
from slipway.gateway.backends import triton_repository

# How Triton itself says that a model takes no requests now. Errors are text alone here: with a status, which
# the header triton_grpc_error would bring, tritonserver 2.51 ends in a segmentation fault after some
# thousand of them.
_AWAY = ("unknown model", "is not found", "is not ready", "maximum queue size")
_READY_TIMEOUT_S = 2.0
# Asking before every request would add a round trip to each; what fails meanwhile says so itself.
_READY_KNOWN_S = 1.0
# gRPC itself would try ever more rarely, up to two minutes, while the gateway waits for Triton to start; and
# it would ask the proxy that http_proxy names, also for this machine's own Triton.
_CHANNEL = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


_log = logging.getLogger(__name__)


class TritonModel:
    """The model that an engine's clients call. Made inside the running event loop."""

    def __init__(self, name: str, url: str, tensors: frozenset[str]) -> None:
        """tensors: all that requests name, inputs and outputs."""
        self._name = name
        self._url = url
        self._tensors = tensors
        self._outdated = False
        self._client = InferenceServerClient(url, channel_args=_CHANNEL)
        self._ready_until = 0.0

    async def responses(
        self,
        request_id: str,
        inputs: list[InferInput],
        outputs: Sequence[str] = (),
        model: str | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[InferResult, None]:
        """What the model answers to one request. Closing the generator cancels the call.

        outputs: those that are read, none means all. model: another than this, a stage of it.
        timeout: seconds until the last response. Raises ModelUnavailable, InvalidRequest or EngineFailed.
        """
        wanted = [InferRequestedOutput(output) for output in outputs] or None
        asked = {"request_id": request_id, "inputs": inputs, "outputs": wanted}
        call = self._client.stream_infer(
            _once(asked | {"model_name": model or self._name}), stream_timeout=timeout
        )
        try:
            async for result, error in call:
                if error is not None:
                    raise self._typed(error.message())
                yield result
        except grpc.aio.AioRpcError as error:
            raise self._typed(error.details() or "", error.code()) from None
        finally:
            call.cancel()

    async def check(self) -> None:
        """Raise ModelUnavailable, which says why, unless the model would answer now.

        Once it was ready, Triton is not asked for a while.
        """
        if time.monotonic() < self._ready_until:
            return
        try:
            ready = await self._client.is_model_ready(self._name, client_timeout=_READY_TIMEOUT_S)
        except InferenceServerException as error:
            raise ModelUnavailable(
                f"Triton at {self._url} does not answer ({error.status()}), so {self._name} is not ready; "
                "wait until Triton has started, or mend --triton-url."
            ) from None
        if not ready:
            why = await triton_repository.reason(self._client, self._name)
            raise ModelUnavailable(f"Triton at {self._url} does not have {self._name} ready: {why}.")
        self._ready_until = time.monotonic() + _READY_KNOWN_S

    async def probe(self) -> None:
        """Raise ModelUnavailable, which says why, unless Triton says at this moment that it is ready, and has
        it with all the tensors that requests may name.
        """
        self._ready_until = 0.0
        await self.check()
        await self._check_tensors()

    async def bring_up(self) -> None:
        """Load the model. Raises what `triton_repository.bring_up` does, and as `probe`."""
        await triton_repository.bring_up(self._client, self._name)
        await self._check_tensors()

    async def take_down(self, stages: bool = False) -> None:
        """Unload the model, and its stages where it has some. Raises as `bring_up` does."""
        try:
            await triton_repository.take_down(self._client, self._name, stages)
        finally:
            self._ready_until = 0.0

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.close()

    async def _check_tensors(self) -> None:
        try:
            told = await self._client.get_model_metadata(self._name, client_timeout=_READY_TIMEOUT_S)
        except InferenceServerException as error:
            raise self._typed(error.message()) from None
        missing = self._tensors - {each.name for each in (*told.inputs, *told.outputs)}
        before, self._outdated = self._outdated, bool(missing)
        if missing:
            outdated = self._laid_out_otherwise(f"no {', '.join(sorted(missing))}")
            if not before:  # who waits for readiness sees the log, and no request
                _log.error("%s", outdated)
            raise outdated

    def _laid_out_otherwise(self, sign: str) -> ModelUnavailable:
        return ModelUnavailable(
            f"Triton at {self._url} has models of {self._name} that another version of Slipway laid out "
            f"({sign}); run `python -m build repository` on its engine, and start Triton again."
        )

    def _typed(self, message: str, code: grpc.StatusCode | None = None) -> SlipwayError:
        """Triton's error as ours. code: of a connection that failed; what a model says is text alone."""
        kind, message = stage_errors.read(message.rstrip("."))
        if message.startswith("unexpected inference "):
            return self._laid_out_otherwise(message)
        if kind is InvalidRequest:
            return InvalidRequest(f"Triton refuses the request: {message}.")
        away = kind is ModelUnavailable or code == grpc.StatusCode.UNAVAILABLE
        if away or any(words in message for words in _AWAY):
            self._ready_until = 0.0
            return ModelUnavailable(f"Triton at {self._url} does not serve {self._name} now: {message}.")
        return EngineFailed(f"{self._name} failed on Triton: {message}.")


def tensor(name: str, values: Sequence[Any], dtype: npt.DTypeLike) -> InferInput:
    """An input in the shape that `values` have."""
    data = np.array(values, dtype)
    made = InferInput(name, list(data.shape), np_to_triton_dtype(data.dtype))
    made.set_data_from_numpy(data)
    return made


async def _once(request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield request
