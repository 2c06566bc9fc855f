"""POST /tokenize and POST /detokenize."""

from fastapi import APIRouter, Request

from slipway.gateway.http.context import context_of
from slipway.gateway.keys.access import caller_of
from slipway.gateway.models import Models
from slipway.gateway.prompter import Prompter
from slipway.gateway.query import Query
from slipway.gateway.reading import BodyReader
from slipway.gateway.shapes.example import CONVERSATION, Example
from slipway.gateway.tokens.schema import Detokenized, DetokenizeRequest, TokenizeRequest, Tokens
from slipway.gateway.validation import check_ids

EXAMPLES = {
    "/tokenize": Example(
        TokenizeRequest,
        {"a prompt": {"prompt": "The capital of France is"}, "a conversation": CONVERSATION},
        {"count": 5, "max_model_len": 8192, "tokens": [504, 3575, 282, 4649, 314], "token_strs": None},
    ),
    "/detokenize": Example(
        DetokenizeRequest,
        {"tokens": {"tokens": [504, 3575, 282, 4649, 314]}},
        {"prompt": "The capital of France is"},
    ),
}


def router(bodies: BodyReader, models: Models) -> APIRouter:
    """The endpoints."""
    routes = APIRouter()

    @routes.post("/tokenize", response_model=Tokens)
    async def tokenize(request: Request) -> Tokens:
        """The tokens of a prompt or a conversation, as the model reads them."""
        body = await bodies.read(request, TokenizeRequest)
        model = await models.find(body.model, caller_of(request))
        conversation, context = body.conversation(), context_of(request)
        if conversation is None:
            return await context.run(_tokens_of_prompt, body, model.prompter)
        query = Query(model=model.name, prompt=conversation)
        rendered = await model.rendering.render(query, context)
        return await context.run(_tokens_of_conversation, body, model.prompter, query, rendered)

    @routes.post("/detokenize", response_model=Detokenized)
    async def detokenize(request: Request) -> Detokenized:
        """The text of tokens."""
        body = await bodies.read(request, DetokenizeRequest)
        model = await models.find(body.model, caller_of(request))
        return await context_of(request).run(_text, body, model.prompter)

    return routes


def _tokens_of_prompt(body: TokenizeRequest, prompter: Prompter) -> Tokens:
    ids = prompter.tokens(body.prompt or "", body.add_special_tokens is not False, "prompt")
    return _tokens(body, prompter, ids)


def _tokens_of_conversation(body: TokenizeRequest, prompter: Prompter, query: Query, rendered: str) -> Tokens:
    return _tokens(body, prompter, prompter.count(query, rendered))


def _tokens(body: TokenizeRequest, prompter: Prompter, ids: list[int]) -> Tokens:
    return Tokens(
        count=len(ids),
        max_model_len=prompter.manifest.limits.max_seq_len,
        tokens=ids,
        token_strs=prompter.tokenizer.entries(ids) if body.return_token_strs else None,
    )


def _text(body: DetokenizeRequest, prompter: Prompter) -> Detokenized:
    check_ids(body.tokens, prompter.manifest, "tokens")
    return Detokenized(prompt=prompter.tokenizer.text(body.tokens))
