"""POST /models/load and /models/unload: which models hold memory; part of `gateway.app`.

Paths and body are those of llama.cpp's server. Below /v1/models they would be models of these names.
"""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request

from gateway.api.model_list import ModelBody, ModelCard
from gateway.http.visit import Visit
from gateway.keys.access import caller_of
from gateway.models import Models

# Reads the body; `gateway.app` gives it, because it knows how long one may be.
Read = Callable[[Request, type[ModelBody]], Awaitable[tuple[ModelBody, bool]]]


def add(app: FastAPI, models: Models, read: Read) -> None:
    """Give `app` both endpoints, for callers that may change what the server does."""

    @app.post("/models/load")
    async def load_model(request: Request) -> ModelCard:
        """Load a model, also one that was built since the server started; answered when it is ready."""
        return (await models.bring_up(await named(request), caller_of(request))).card

    @app.post("/models/unload")
    async def unload_model(request: Request) -> ModelCard:
        """Unload a model; answered when its running answers have ended and its memory is free."""
        return (await models.take_down(await named(request), caller_of(request))).card

    async def named(request: Request) -> str:
        caller_of(request).check_admin()
        # Declared as JSON, so that no page of another origin can send it unasked.
        body, _ = await read(request, ModelBody)
        visit: Visit = request.state.visit
        visit.model = body.model
        return body.model
