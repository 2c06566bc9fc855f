"""Triton's repository: what of a model is loaded, and loading it; used by `triton_model`.

The stages are unloaded by name, because Triton spares the parts of an ensemble that it loaded for themselves,
as it does at the start (model_repository_manager.cc).
"""

import asyncio

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from slipway.contract.errors import EngineRefused, ModelUnavailable, SlipwayError
from slipway.contract.stage_names import all_names

_POLL_S = 0.1
_UNAVAILABLE = "StatusCode.UNAVAILABLE"


async def bring_up(client: InferenceServerClient, model: str) -> None:
    """Load the model, and by that the stages of an ensemble; return when it is ready.

    Raises EngineRefused with Triton's reason, ModelUnavailable when Triton is not there or forbids it.
    """
    try:
        await client.load_model(model)
    except InferenceServerException as error:
        raise _typed(model, "load", error) from None


async def take_down(client: InferenceServerClient, model: str, stages: bool) -> None:
    """Unload the model, then its stages if it has some; return when their memory is free. Raises likewise.

    An answer that runs keeps the ensemble, and needs the stages to its end.
    """
    try:
        for part in reversed(all_names(model)) if stages else [model]:
            await client.unload_model(part)
            while await _state(client, part) in ("READY", "UNLOADING"):
                await asyncio.sleep(_POLL_S)
    except InferenceServerException as error:
        raise _typed(model, "unload", error) from None


async def reason(client: InferenceServerClient, model: str) -> str:
    """Why it is not ready, in a few words."""
    try:
        said = await _entry(client, model)
    except InferenceServerException as error:
        return f"it does not say why ({error.status()})"
    if said is None:
        return "its model repository lacks it"
    state, why = said
    if why == "unloaded" or (state == "" and not why):
        return "it is not loaded; POST /models/load loads it"
    return _first_line(why) or f"it is {state.lower() or 'still starting'}"


async def _state(client: InferenceServerClient, model: str) -> str:
    said = await _entry(client, model)
    return "" if said is None else said[0]


async def _entry(client: InferenceServerClient, model: str) -> tuple[str, str] | None:
    """State (READY, LOADING, UNLOADING, UNAVAILABLE, or "" before the first load) and reason."""
    index = await client.get_model_repository_index()
    return next(((each.state, each.reason) for each in index.models if each.name == model), None)


def _typed(model: str, verb: str, error: InferenceServerException) -> SlipwayError:
    kind = ModelUnavailable if error.status() == _UNAVAILABLE else EngineRefused
    return kind(f"Triton does not {verb} {model}: {_first_line(error.message())}.")


def _first_line(text: str) -> str:
    """Without the traceback that Triton gives along."""
    return text.strip().partition("\n")[0].rstrip(".")
