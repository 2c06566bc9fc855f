"""The OpenAPI document at /openapi.json: what FastAPI knows, and what it cannot know.

The endpoints parse their bodies themselves and answer in more than one shape, so this module describes both.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from slipway.gateway.errors import TABLE
from slipway.gateway.http import docs_page
from slipway.gateway.http.error_response import is_messages_path
from slipway.gateway.shapes.example import ERROR, MESSAGE_ERROR, MODEL, Events, Example
from slipway.gateway.shapes.message_error import MessageErrorBody, message_status

_SCHEMA_PATH = "#/components/schemas/{model}"


class DocumentedApp(FastAPI):
    """FastAPI with a complete OpenAPI document.

    examples: by path. example_model: the model's name in the examples.
    open_paths: the paths that need no API key; None if no path needs one.
    """

    def __init__(
        self,
        *,
        examples: Mapping[str, Example],
        example_model: str,
        open_paths: Collection[str] | None,
        **options: Any,
    ) -> None:
        super().__init__(docs_url=None, redoc_url=None, **options)
        docs_page.add(self)
        self._examples = examples
        self._example_model = example_model
        self._open_paths = open_paths

    def openapi(self) -> dict[str, Any]:
        """Return the document at /openapi.json."""
        if self.openapi_schema is None:
            document = super().openapi()
            _complete(document, self._examples, self._example_model)
            if self._open_paths is not None:
                _describe_keys(document, self._open_paths)
        return super().openapi()


def _complete(document: dict[str, Any], examples: Mapping[str, Example], model: str) -> None:
    shapes = [each.body for each in examples.values()]
    for each in examples.values():
        shapes += (*each.events.shapes, each.events.error) if each.events else ()
    shapes.append(MessageErrorBody)
    _, described = models_json_schema(
        [(shape, "validation") for shape in dict.fromkeys(shapes)], ref_template=_SCHEMA_PATH
    )
    document["components"]["schemas"].update(described["$defs"])
    for path, example in examples.items():
        operation = document["paths"][path]["post"]
        operation["requestBody"] = _body(example, model)
        answers = operation["responses"]["200"]["content"]
        answers["application/json"]["example"] = _with_model(model, example.answer)
        if example.events:
            answers["text/event-stream"] = _events(example.events, model)
    metrics = document["paths"]["/metrics"]["get"]["responses"]["200"]
    metrics["content"] = {"text/plain": {"schema": {"type": "string"}}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _describe_errors(operation["responses"], is_messages_path(path))
            for parameter in operation.get("parameters", []):
                parameter["example"] = model


def _describe_keys(document: dict[str, Any], open_paths: Collection[str]) -> None:
    """Say how to send a key, so that /docs has a field for it."""
    document["components"]["securitySchemes"] = {
        "Authorization": {"type": "http", "scheme": "bearer"},
        "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    document["security"] = [{name: []} for name in document["components"]["securitySchemes"]]
    for path in document["paths"].keys() & set(open_paths):
        for operation in document["paths"][path].values():
            operation["security"] = []


def _body(example: Example, model: str) -> dict[str, Any]:
    asked = {name: {"value": {"model": model, **body}} for name, body in example.asked.items()}
    schema = {"$ref": _SCHEMA_PATH.format(model=example.body.__name__)}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": asked}}}


def _events(events: Events, model: str) -> dict[str, Any]:
    names = [f"event: {event['type']}\n" if events.named else "" for event in events.shown]
    lines = [
        f"{name}data: {json.dumps(_with_model(model, event))}\n\n"
        for name, event in zip(names, events.shown, strict=True)
    ]
    shapes = [{"$ref": _SCHEMA_PATH.format(model=shape.__name__)} for shape in (*events.shapes, events.error)]
    data: dict[str, Any] = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": shapes},
        "description": "The next part of the answer, or the error that ends the stream early.",
    }
    if events.done:
        lines.append("data: [DONE]\n\n")
        data = {"anyOf": [{"const": "[DONE]", "description": "The last event of a complete answer."}, data]}
    event = {"type": "object", "required": ["data"], "properties": {"data": data}}
    # OpenAPI 3.2's name for the schema of one event, which FastAPI writes for its own streams too.
    return {"itemSchema": event, "example": "".join(lines)}


def _describe_errors(responses: dict[str, Any], of_messages: bool) -> None:
    """List every status and code of 4XX and 5XX, with an example."""
    for family, first in (("4XX", 400), ("5XX", 500)):
        members = range(first, first + 100)
        shown = sorted({(row.status, row.code) for row in TABLE.values() if row.status in members})
        codes = ", ".join(f"{code} ({status})" for status, code in shown)
        responses[family]["description"] = f"By `code`: {codes}."
        if of_messages:
            known = {message_status(row) for row in TABLE.values()}
            statuses = ", ".join(str(status) for status in sorted(known) if status in members)
            schema = {"$ref": _SCHEMA_PATH.format(model=MessageErrorBody.__name__)}
            responses[family] = {
                "description": f"In Anthropic's shape; the status is one of {statuses}.",
                "content": {"application/json": {"schema": schema}},
            }
    example = {"type": "error", "error": MESSAGE_ERROR} if of_messages else {"error": ERROR}
    responses["4XX"]["content"]["application/json"]["example"] = example


def _with_model(model: str, shown: Any) -> Any:
    """Return an example with the name of a model that is served."""
    match shown:
        case dict():
            return {key: _with_model(model, each) for key, each in shown.items()}
        case list():
            return [_with_model(model, each) for each in shown]
    return model if shown == MODEL else shown
