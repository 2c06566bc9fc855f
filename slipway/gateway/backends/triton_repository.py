"""Triton's model repository: the state of a model, loading it and unloading it.

Unloading an ensemble does not unload the stages that Triton loaded on their own, as it does at its start
(model_repository_manager.cc). So each stage is unloaded by its name.
"""

import asyncio
import re
import time

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from slipway.contract.errors import EngineRefused, ModelUnavailable, SlipwayError
from slipway.contract.stage_names import all_names

_POLL_S = 0.1
# Triton frees a stage within seconds. TensorRT-LLM's C++ backend never frees one that got a `stop` request:
# the response factory of that request holds the model (model_instance_state.cc). The gateway sends it none.
UNLOAD_TIMEOUT_S = 60.0
# An engine of hundreds of GB from a network's disk takes this long.
LOAD_TIMEOUT_S = 1800.0
_INDEX_TIMEOUT_S = 10.0
_DEADLINE = "StatusCode.DEADLINE_EXCEEDED"
_UNAVAILABLE = "StatusCode.UNAVAILABLE"
_UNLOADED = "unloaded"  # Triton's reason for a model that it was told to unload
# What Triton and Python put before the sentence of a stage that refuses its engine.
_REFUSED = re.compile(r"^Internal: EngineRefused: ")


async def load(client: InferenceServerClient, model: str) -> None:
    """Load the model and, with an ensemble, its stages; return when it is ready.

    Raises EngineRefused with Triton's reason, ModelUnavailable when Triton is not there or forbids it, or
    still unloads a part: that holds its memory, and a second one beside it would take as much again.
    """
    try:
        for part in all_names(model):
            if await _state(client, part) == "UNLOADING":
                raise ModelUnavailable(
                    f"{model} cannot be loaded, because {part} is still being unloaded; try again in a "
                    "minute, and if that does not help, restart Triton."
                )
        await client.load_model(model, client_timeout=LOAD_TIMEOUT_S)
    except InferenceServerException as error:
        raise _typed(model, "load", error) from None


async def unload(client: InferenceServerClient, model: str, stages: bool) -> None:
    """Unload the model, then its stages if it has any; return when their memory is free.

    The ensemble goes first: it stays until its running answers end, and they need the stages until then. Each
    part has UNLOAD_TIMEOUT_S. Raises the same errors as `load`: ModelUnavailable while the ensemble has
    answers that run on, EngineRefused when a stage is not freed.
    """
    try:
        await client.unload_model(model, client_timeout=UNLOAD_TIMEOUT_S)
        if not await _is_gone(client, model):
            raise ModelUnavailable(
                f"{model} still has running answers after {UNLOAD_TIMEOUT_S:.0f} s, and takes no new ones; "
                "unload it again when they have ended."
            )
        held = []
        for part in reversed(all_names(model)[:-1]) if stages else ():
            await client.unload_model(part, client_timeout=UNLOAD_TIMEOUT_S)
            if not await _is_gone(client, part):
                held.append(part)
    except InferenceServerException as error:
        raise _typed(model, "unload", error) from None
    if held:
        raise EngineRefused(
            f"{' and '.join(held)} still holds its memory {UNLOAD_TIMEOUT_S:.0f} s after it was unloaded; "
            "if no answer is running, restart Triton to free it."
        )


async def why_not_ready(client: InferenceServerClient, model: str) -> str:
    """Return the reason in a few words: the model's own, or that of a stage that did not load."""
    try:
        index = await client.get_model_repository_index(client_timeout=_INDEX_TIMEOUT_S)
    except InferenceServerException as error:
        return f"it gives no reason ({error.status()})"
    entries = {entry.name: entry for entry in index.models if entry.name in all_names(model)}
    if model not in entries:
        return "it is not in its model repository"
    state, own = entries[model].state, entries[model].reason
    stages = (entry.reason for name, entry in entries.items() if name != model)
    for reason in (own, *stages):
        if reason not in ("", _UNLOADED):
            return _REFUSED.sub("", _first_line(reason))
    if own == _UNLOADED or state == "":
        return "it is not loaded; POST /models/load loads it"
    return f"it is {state.lower()}"


async def _is_gone(client: InferenceServerClient, part: str) -> bool:
    """Wait up to UNLOAD_TIMEOUT_S; return whether Triton has freed the model."""
    deadline = time.monotonic() + UNLOAD_TIMEOUT_S
    while await _state(client, part) in ("READY", "UNLOADING"):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def _state(client: InferenceServerClient, model: str) -> str:
    """Return READY, LOADING, UNLOADING, UNAVAILABLE, or "" before the first load."""
    index = await client.get_model_repository_index(client_timeout=_INDEX_TIMEOUT_S)
    return next((each.state for each in index.models if each.name == model), "")


def _typed(model: str, verb: str, error: InferenceServerException) -> SlipwayError:
    if error.status() == _DEADLINE:
        return ModelUnavailable(
            f"Triton did not {verb} {model} in time; look at its log, and restart it if it does not go on."
        )
    kind = ModelUnavailable if error.status() == _UNAVAILABLE else EngineRefused
    return kind(f"Triton cannot {verb} {model}: {_first_line(error.message())}.")


def _first_line(text: str) -> str:
    """Return the message without the traceback that Triton appends."""
    return text.strip().partition("\n")[0].rstrip(".")
