"""POST /v1/responses and /v1/responses/input_tokens; GET and DELETE /v1/responses/{response_id}."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from slipway.contract.generation import GenerationRequest
from slipway.gateway.answering import Answering
from slipway.gateway.errors import NotOffered
from slipway.gateway.http.body_memory import SMALL_BODY
from slipway.gateway.http.context import context_of
from slipway.gateway.keys.access import caller_of
from slipway.gateway.models import Model
from slipway.gateway.query import Message
from slipway.gateway.reading import BodyReader
from slipway.gateway.responses.object import InputTokens, ResponseDeleted, ResponseObject
from slipway.gateway.responses.reply import ResponseEvent, ResponsesReply
from slipway.gateway.responses.schema import ResponsesRequest
from slipway.gateway.responses.store import ResponseStore, StoredResponse
from slipway.gateway.responses.tools import functions_by_name
from slipway.gateway.shapes.example import SENTENCE, Events, Example, shown
from slipway.gateway.shapes.reply import Head, as_json

_RESPONSES = "/v1/responses"
_INPUT = {"input": "What is the capital of France?", "max_output_tokens": 32}


def _shown_reply(head: Head) -> ResponsesReply:
    body = ResponsesRequest.model_validate({"model": head.model, **_INPUT})
    return ResponsesReply(ResponseObject.started(head, body), lambda ended, messages: None)


_BODY, _EVENTS = shown("resp_", SENTENCE, _shown_reply)
EXAMPLES = {
    _RESPONSES: Example(
        ResponsesRequest,
        {"one answer": _INPUT, "a stream": {**_INPUT, "stream": True}},
        _BODY,
        Events((ResponseEvent,), ResponseEvent, _EVENTS, named=True, done=False),
    ),
    f"{_RESPONSES}/input_tokens": Example(
        ResponsesRequest,
        {"a question": _INPUT},
        {"object": "response.input_tokens", "input_tokens": 13},
    ),
}


def router(bodies: BodyReader, answering: Answering) -> APIRouter:
    """The endpoints, with a store of their own."""
    routes = APIRouter()
    store = ResponseStore()

    def earlier_messages(request: Request, body: ResponsesRequest) -> tuple[Message, ...]:
        """Those up to the response that `body` continues. Raises ResponseNotFound."""
        if body.previous_response_id is None:
            return ()
        owner = caller_of(request).name
        earlier = store.get(body.previous_response_id, owner, "previous_response_id")
        context_of(request).long_body |= earlier.characters > SMALL_BODY
        return earlier.messages

    @routes.post(_RESPONSES, response_model=ResponseObject)
    async def responses(request: Request) -> Response:
        """Answer a conversation in the shapes of OpenAI's newer API, as one response or as its events."""
        body = await bodies.read(request, ResponsesRequest)
        earlier, owner = earlier_messages(request, body), caller_of(request).name
        said = await context_of(request).run(body.said)

        def keep(ended: ResponseObject, answered: tuple[Message, ...]) -> None:
            store.put(ended.id, StoredResponse(as_json(ended), (*earlier, *said, *answered), owner))

        def reply(model: Model, prompts: Sequence[GenerationRequest]) -> ResponsesReply:
            head = Head(f"resp_{request.state.id}", model.name)
            functions = functions_by_name(body.tools or ())
            return ResponsesReply(ResponseObject.started(head, body), keep, functions)

        return await answering.answer(request, body.query(earlier, said), reply)

    @routes.post(f"{_RESPONSES}/input_tokens")
    async def count_input_tokens(request: Request) -> InputTokens:
        """How many tokens the prompt of a response would have."""
        body = await bodies.read(request, ResponsesRequest)
        query = body.query(earlier_messages(request, body), await context_of(request).run(body.said))
        count = await answering.count(request, query)
        return InputTokens(object="response.input_tokens", input_tokens=count)

    @routes.get(f"{_RESPONSES}/{{response_id}}", response_model=ResponseObject)
    async def retrieve_response(request: Request, response_id: str) -> Response:
        """A response that is still kept."""
        if request.query_params.get("stream", "false") != "false":
            raise NotOffered("stream is set: a response that is kept comes whole; leave it out.", "stream")
        stored = store.get(response_id, caller_of(request).name)
        return Response(stored.body, media_type="application/json")

    @routes.delete(f"{_RESPONSES}/{{response_id}}")
    async def delete_response(request: Request, response_id: str) -> ResponseDeleted:
        """Forget a response."""
        store.delete(response_id, caller_of(request).name)
        return ResponseDeleted(id=response_id, object="response", deleted=True)

    return routes
