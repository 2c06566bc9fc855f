"""POST /v1/completions."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from slipway.contract.generation import GenerationRequest
from slipway.gateway.answering import Answering
from slipway.gateway.completions.reply import Completion, CompletionReply
from slipway.gateway.completions.schema import CompletionRequest
from slipway.gateway.http.context import context_of
from slipway.gateway.models import Model
from slipway.gateway.reading import BodyReader
from slipway.gateway.shapes.chunks import prompt_lengths
from slipway.gateway.shapes.error import ErrorBody
from slipway.gateway.shapes.example import Events, Example, shown
from slipway.gateway.shapes.reply import Head

_BEGINNING = {"prompt": "The capital of France is", "max_tokens": 8}
_BODY, _EVENTS = shown("cmpl-", " Paris.", CompletionReply)
EXAMPLES = {
    "/v1/completions": Example(
        CompletionRequest,
        {
            "one answer": _BEGINNING,
            "a stream": {**_BEGINNING, "stream": True},
            "two prompts": {"prompt": ["1, 2, 3,", "a, b, c,"], "max_tokens": 8},
        },
        _BODY,
        Events((Completion,), ErrorBody, _EVENTS),
    ),
}


def router(bodies: BodyReader, answering: Answering) -> APIRouter:
    """The endpoint."""
    routes = APIRouter()

    @routes.post("/v1/completions", response_model=Completion)
    async def completions(request: Request) -> Response:
        """Go on from a prompt or from several, as one body or as a stream of chunks."""
        body = await bodies.read(request, CompletionRequest)
        query = await context_of(request).run(body.query)

        def reply(model: Model, prompts: Sequence[GenerationRequest]) -> CompletionReply:
            head = Head(f"cmpl-{request.state.id}", model.name)
            decode = model.prompter.tokenizer.text
            texts = (text if isinstance(text, str) else decode(text) for text in body.prompts)
            echoes = [text for text in texts for _ in range(query.n)] if body.echo else []
            return CompletionReply(head, query.include_usage, prompt_lengths(query, prompts), echoes)

        return await answering.answer(request, query, reply)

    return routes
