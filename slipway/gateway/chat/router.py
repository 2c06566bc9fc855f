"""POST /v1/chat/completions."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from slipway.contract.generation import GenerationRequest
from slipway.gateway.answering import Answering
from slipway.gateway.chat.reply import ChatCompletion, ChatReply, Tier
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.http.visit import visit_of
from slipway.gateway.models import Model
from slipway.gateway.reading import BodyReader
from slipway.gateway.shapes.chunks import prompt_lengths
from slipway.gateway.shapes.reply import Head


def router(bodies: BodyReader, answering: Answering) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()

    @routes.post("/v1/chat/completions", response_model=ChatCompletion)
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation, as one body or as a stream of chunks."""
        body = await bodies.read(request, ChatCompletionRequest)
        query = await visit_of(request).run(body.query)

        def reply(model: Model, prompts: Sequence[GenerationRequest]) -> ChatReply:
            head = Head(f"chatcmpl-{request.state.id}", model.name)
            tier: Tier | None = "default" if body.service_tier else None
            return ChatReply(head, query.include_usage, prompt_lengths(query, prompts), tier)

        return await answering.answer(request, query, reply)

    return routes
