"""POST /v1/messages and POST /v1/messages/count_tokens."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from slipway.contract.generation import GenerationRequest
from slipway.gateway.answering import Answering
from slipway.gateway.http.context import context_of
from slipway.gateway.http.error_response import MESSAGES
from slipway.gateway.messages.reply import EVENTS, MessageResponse, MessagesReply, TokensCount
from slipway.gateway.messages.schema import CountTokensRequest, MessagesRequest
from slipway.gateway.models import Model
from slipway.gateway.reading import BodyReader
from slipway.gateway.shapes.example import CONVERSATION, QUESTION, SENTENCE, Events, Example, shown
from slipway.gateway.shapes.message_error import MessageErrorBody
from slipway.gateway.shapes.reply import Head

_BODY, _EVENTS = shown("msg_", SENTENCE, lambda head: MessagesReply(head, 13))
EXAMPLES = {
    MESSAGES: Example(
        MessagesRequest,
        {"one answer": QUESTION, "a stream": {**QUESTION, "stream": True}},
        _BODY,
        Events(EVENTS, MessageErrorBody, _EVENTS, named=True, done=False),
    ),
    f"{MESSAGES}/count_tokens": Example(
        CountTokensRequest, {"a conversation": CONVERSATION}, {"input_tokens": 13}
    ),
}


def router(bodies: BodyReader, answering: Answering) -> APIRouter:
    """The endpoints."""
    routes = APIRouter()

    @routes.post(MESSAGES, response_model=MessageResponse)
    async def messages(request: Request) -> Response:
        """Answer a conversation in the shapes of Anthropic's API, as one message or as its events."""
        body = await bodies.read(request, MessagesRequest)
        query = await context_of(request).run(body.query)

        def reply(model: Model, prompts: Sequence[GenerationRequest]) -> MessagesReply:
            head = Head(f"msg_{request.state.id}", model.name)
            [prompt] = prompts
            cut = prompt.sampling.max_tokens < body.max_tokens
            return MessagesReply(head, len(prompt.prompt_token_ids), query.stop, cut)

        return await answering.answer(request, query, reply)

    @routes.post(f"{MESSAGES}/count_tokens")
    async def count_tokens(request: Request) -> TokensCount:
        """How many tokens the prompt of a message would have."""
        body = await bodies.read(request, CountTokensRequest)
        query = await context_of(request).run(body.query)
        return TokensCount(input_tokens=await answering.count(request, query))

    return routes
