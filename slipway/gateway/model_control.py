"""GET /v1/models, POST /models/load and /models/unload: which models there are; part of `gateway.app`.

Paths and body of the last two are those of llama.cpp's server. Below /v1/models they would be models of these
names.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException

from slipway.gateway.api.model_list import ModelBody, ModelCard, ModelList
from slipway.gateway.http.visit import Visit
from slipway.gateway.keys.access import caller_of
from slipway.gateway.models import Models

# Reads the body; `gateway.app` gives it, because it knows how long one may be.
Read = Callable[[Request, type[ModelBody]], Awaitable[tuple[ModelBody, bool]]]


def add(app: FastAPI, models: Models, read: Read) -> None:
    """Give `app` these endpoints; the last two are for callers that may change what the server does."""

    @app.get("/v1/models")
    async def list_models(request: Request) -> ModelList:
        """The models that are ready, and that the key is for."""
        may_use = caller_of(request).may_use
        return ModelList(data=[model.card for model in await models.ready() if may_use(model.name)])

    @app.get("/v1/models/{name:path}")
    async def retrieve_model(request: Request, name: str) -> ModelCard:
        """One model that is ready."""
        if not name:  # the list's path with a slash too many
            raise HTTPException(HTTPStatus.NOT_FOUND)
        model = await models.find(name, caller_of(request))
        await model.backend.check()
        return model.card

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
