"""GET /v1/models, POST /models/load and /models/unload: which models there are.

Paths and body of the last two are those of llama.cpp's server. Below /v1/models they would name models.
"""

from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from slipway.gateway.keys.access import caller_of
from slipway.gateway.models import Models
from slipway.gateway.reading import BodyReader
from slipway.gateway.shapes.example import MODEL, SHOWN_TIME, Example
from slipway.gateway.shapes.model_list import ModelBody, ModelCard, ModelList

_CARD = {
    "id": MODEL,
    "object": "model",
    "created": SHOWN_TIME,
    "owned_by": "slipway",
    "root": MODEL,
    "max_model_len": 8192,
    "default_max_tokens": 2048,
}
EXAMPLES = {
    "/models/load": Example(ModelBody, {"a model": {}}, _CARD),
    "/models/unload": Example(ModelBody, {"a model": {}}, _CARD),
}


def router(bodies: BodyReader, models: Models) -> APIRouter:
    """The endpoints. Loading and unloading are for callers that may change what the server does."""
    routes = APIRouter()

    @routes.get("/v1/models")
    async def list_models(request: Request) -> ModelList:
        """The models that are ready, and that the key is for, each followed by its aliases."""
        may_use = caller_of(request).may_use
        ready = [model for model in await models.ready() if may_use(model.name)]
        return ModelList(
            data=[model.card(name) for model in ready for name in (None, *models.aliases_of(model))]
        )

    @routes.get("/v1/models/{name:path}")
    async def retrieve_model(request: Request, name: str) -> ModelCard:
        """One model that is ready."""
        if not name:  # the list's path with a slash too many
            raise HTTPException(HTTPStatus.NOT_FOUND)
        model = await models.find(name, caller_of(request))
        await model.backend.check()
        return model.card(name)

    @routes.post("/models/load")
    async def load_model(request: Request) -> ModelCard:
        """Load a model, also one that was built since the server started; answered when it is ready."""
        return (await models.load(await model_name(request), caller_of(request))).card()

    @routes.post("/models/unload")
    async def unload_model(request: Request) -> ModelCard:
        """Unload a model; answered when its running answers have ended and its memory is free."""
        return (await models.unload(await model_name(request), caller_of(request))).card()

    async def model_name(request: Request) -> str:
        caller_of(request).check_admin()
        # Declared as JSON, so that no page of another origin can send it unasked.
        return (await bodies.read(request, ModelBody)).model

    return routes
