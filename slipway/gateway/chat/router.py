"""POST /v1/chat/completions."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from slipway.contract.generation import GenerationRequest
from slipway.gateway.answering import Answering
from slipway.gateway.chat.reply import ChatCompletion, ChatCompletionChunk, ChatReply, Tier
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.http.context import context_of
from slipway.gateway.models import Model
from slipway.gateway.reading import BodyReader
from slipway.gateway.shapes.chunks import prompt_lengths
from slipway.gateway.shapes.error import ErrorBody
from slipway.gateway.shapes.example import QUESTION, SENTENCE, Events, Example, shown
from slipway.gateway.shapes.reply import Head

_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_BODY, _EVENTS = shown("chatcmpl-", SENTENCE, ChatReply)
EXAMPLES = {
    "/v1/chat/completions": Example(
        ChatCompletionRequest,
        {
            "one answer": QUESTION,
            "a stream": {**QUESTION, "stream": True, "stream_options": {"include_usage": True}},
            "with log-probabilities": {**QUESTION, "temperature": 0, "logprobs": True, "top_logprobs": 2},
            "an answer by a schema": {
                **QUESTION,
                "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": _CITY}},
            },
        },
        _BODY,
        Events((ChatCompletionChunk,), ErrorBody, _EVENTS),
    ),
}


def router(bodies: BodyReader, answering: Answering) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()

    @routes.post("/v1/chat/completions", response_model=ChatCompletion)
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation, as one body or as a stream of chunks."""
        body = await bodies.read(request, ChatCompletionRequest)
        query = await context_of(request).run(body.query)

        def reply(model: Model, prompts: Sequence[GenerationRequest]) -> ChatReply:
            head = Head(f"chatcmpl-{request.state.id}", model.name)
            tier: Tier | None = "default" if body.service_tier else None
            lengths = prompt_lengths(query, prompts)
            if query.prompt_logprobs is None:
                return ChatReply(head, query.include_usage, lengths, tier)
            tokens = model.prompter.prompt_tokens(prompts[0], prompts[0].prompt)
            return ChatReply(head, query.include_usage, lengths, tier, tokens, query.prompt_logprobs)

        return await answering.answer(request, query, reply)

    return routes
