"""GET /v1/models: the models that are ready; filled in by `gateway.models`."""

from typing import Literal

from pydantic import BaseModel


class ModelCard(BaseModel):
    """One model that is ready."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "slipway"


class ModelList(BaseModel):
    """The response of GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
