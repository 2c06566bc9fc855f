"""POST /v1/completions."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from fastapi import APIRouter, Request, Response

from slipway.contract.generation import GenerationRequest
from slipway.gateway.answering import Answering
from slipway.gateway.completions.reply import Completion, CompletionReply
from slipway.gateway.completions.schema import CompletionRequest
from slipway.gateway.http.context import context_of
from slipway.gateway.models import Model
from slipway.gateway.query import Query
from slipway.gateway.reading import BodyReader
from slipway.gateway.shapes.chunks import prompt_lengths
from slipway.gateway.shapes.error import ErrorBody
from slipway.gateway.shapes.example import Events, Example, shown
from slipway.gateway.shapes.reply import Head

T = TypeVar("T")
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
            reported = prompts if query.prompt_logprobs is not None else ()
            shown = prompts if body.echo else reported
            texts = [_text(query, model, *each) for each in zip(body.prompts, shown, strict=False)]
            return CompletionReply(
                head,
                query.include_usage,
                prompt_lengths(query, prompts),
                _each(texts if body.echo else (), query.n),
                _each(map(model.prompter.prompt_tokens, reported, texts), query.n),
                body.echoed_logprobs,
                body.prompt_logprobs,
                query.n,
            )

        return await answering.answer(request, query, reply)

    return routes


def _text(query: Query, model: Model, sent: str | Sequence[int], read: GenerationRequest) -> str:
    """The text of a prompt. Of one that is cut, only the tokens that are read count."""
    if isinstance(sent, str) and query.truncate_prompt_tokens is None:
        return sent
    return model.prompter.tokenizer.text(read.prompt_token_ids)


def _each(values: Iterable[T], n: int) -> list[T]:
    """Each of the values n times, because each prompt has n answers."""
    return [value for value in values for _ in range(n)]
