"""Triton's model repository: the state of a model, loading it and unloading it.

Unloading an ensemble does not unload the stages that Triton loaded on their own, as it does at its start
(model_repository_manager.cc). So each stage is unloaded by its name.
"""

import asyncio

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from slipway.contract.errors import EngineRefused, ModelUnavailable, SlipwayError
from slipway.contract.stage_names import all_names

_POLL_S = 0.1
_UNAVAILABLE = "StatusCode.UNAVAILABLE"


async def load(client: InferenceServerClient, model: str) -> None:
    """Load the model and, with an ensemble, its stages; return when it is ready.

    Raises EngineRefused with Triton's reason, ModelUnavailable when Triton is not there or forbids it.
    """
    try:
        await client.load_model(model)
    except InferenceServerException as error:
        raise _typed(model, "load", error) from None


async def unload(client: InferenceServerClient, model: str, stages: bool) -> None:
    """Unload the model, then its stages if it has any; return when their memory is free.

    The ensemble goes first: it stays until its running answers end, and they need the stages until then.
    Raises the same errors as `load`.
    """
    try:
        for part in reversed(all_names(model)) if stages else [model]:
            await client.unload_model(part)
            while await _state(client, part) in ("READY", "UNLOADING"):
                await asyncio.sleep(_POLL_S)
    except InferenceServerException as error:
        raise _typed(model, "unload", error) from None


async def why_not_ready(client: InferenceServerClient, model: str) -> str:
    """Return the reason in a few words."""
    try:
        entry = await _entry(client, model)
    except InferenceServerException as error:
        return f"it gives no reason ({error.status()})"
    if entry is None:
        return "it is not in its model repository"
    state, reason = entry
    if reason == "unloaded" or (state == "" and not reason):
        return "it is not loaded; POST /models/load loads it"
    return _first_line(reason) or f"it is {state.lower() or 'still starting'}"


async def _state(client: InferenceServerClient, model: str) -> str:
    entry = await _entry(client, model)
    return "" if entry is None else entry[0]


async def _entry(client: InferenceServerClient, model: str) -> tuple[str, str] | None:
    """Return state and reason. States: READY, LOADING, UNLOADING, UNAVAILABLE, "" before the first load."""
    index = await client.get_model_repository_index()
    return next(((each.state, each.reason) for each in index.models if each.name == model), None)


def _typed(model: str, verb: str, error: InferenceServerException) -> SlipwayError:
    kind = ModelUnavailable if error.status() == _UNAVAILABLE else EngineRefused
    return kind(f"Triton cannot {verb} {model}: {_first_line(error.message())}.")


def _first_line(text: str) -> str:
    """Return the message without the traceback that Triton appends."""
    return text.strip().partition("\n")[0].rstrip(".")
