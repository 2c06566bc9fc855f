"""The shapes of GET /v1/models, POST /models/load and POST /models/unload."""

from typing import Literal

from pydantic import BaseModel

from slipway.gateway.shapes.body import Body, NonEmpty


class ModelCard(BaseModel):
    """One model that is ready.

    root: the model that answers, where `id` is an alias of it, as in vLLM.
    max_model_len: tokens of a prompt and its answer together; vLLM's name, which many programs look for.
    default_max_tokens: tokens of an answer when the request does not say.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "slipway"
    root: str
    max_model_len: int
    default_max_tokens: int


class ModelList(BaseModel):
    """The response of GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class ModelBody(Body):
    """The body of POST /models/load and /models/unload."""

    model: NonEmpty
