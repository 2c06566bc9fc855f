"""A query's way to its reply: find the model, render the prompt, wait in the queue, generate, shape."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import GenerationRequest, Grammar
from slipway.gateway.answers.answer import Answer, Listener, Piece, stream_answer
from slipway.gateway.answers.choices import best, candidates, collect, merge
from slipway.gateway.grammars.check import GrammarCheck
from slipway.gateway.grammars.structure import grammar_source
from slipway.gateway.http.context import context_of
from slipway.gateway.http.sse import EventStream, stream_events
from slipway.gateway.keys.access import caller_of
from slipway.gateway.models import Model, Models
from slipway.gateway.query import Query
from slipway.gateway.shapes.reply import Reply, as_json
from slipway.gateway.shapes.usage import Usage
from slipway.gateway.validation import check_prompt_logprobs, check_query, check_tokens

# Makes the reply of an API, given the model and a request for each prompt.
ReplyMaker = Callable[[Model, Sequence[GenerationRequest]], Reply]


class Answering:
    """Answers queries with the models of this server.

    max_tokens: tokens that the answers to one request may have together, as `check_tokens` counts them.
    stopping: set when the server shuts down; every running answer then ends with an error.
    """

    def __init__(self, models: Models, max_tokens: int, stopping: asyncio.Event) -> None:
        self._models = models
        self._max_tokens = max_tokens
        self._stopping = stopping

    async def count(self, request: Request, query: Query) -> int:
        """How many tokens the prompt of a conversation has, also where they do not fit."""
        model = await self._find(request, query)
        context = context_of(request)
        rendered = await model.rendering.render(query, context)
        return len(await context.run(model.prompter.count, query, rendered))

    async def answer(self, request: Request, query: Query, make_reply: ReplyMaker) -> Response:
        """The response to `request`, which asks for `query`."""
        model = await self._find(request, query)
        context = context_of(request)
        rendered = await model.rendering.render(query, context)
        prompts = await context.run(model.prompter.requests, query, request.state.id, rendered)
        grammar = prompts[0].sampling.grammar
        if model.grammars is not None and grammar is not None:
            checking = _checked(grammar, model.grammars, query, context.client)
            grammar = await context.run_until_disconnect(checking)
            prompts = [replace(each, sampling=replace(each.sampling, grammar=grammar)) for each in prompts]
        reply = make_reply(model, prompts)
        pieces = self._generate(request, query, model, prompts)
        if query.stream:
            sent = stream_events(reply, pieces, len(prompts), query.n, context.prompt_tokens)
            return EventStream(reply, sent, self._stopping, context.deadline)
        collecting = collect(pieces, len(prompts) * query.candidates)
        answers = await context.run_until_disconnect(collecting)
        tokens = sum(each.tokens for each in answers)
        cached = [each.cached_tokens for each in answers[:: query.candidates]]
        usage = Usage.of(context.prompt_tokens, tokens, cached)
        shown = _shown(query, answers)
        if query.prompt_logprobs is None:
            content = as_json(reply.body(shown, usage))
        else:
            # Reporting the tokens of a long prompt takes long, and other streams would stop meanwhile.
            content = await asyncio.to_thread(lambda: as_json(reply.body(shown, usage)))
        return Response(content, media_type="application/json")

    async def _find(self, request: Request, query: Query) -> Model:
        """The model, which is ready."""
        check_query(query)
        context = context_of(request)
        context.ignored += query.ignored
        context.deadline = context.deadline.shortened(query.timeout)
        model = await self._models.find(query.model, caller_of(request))
        context.served = model.name
        context.ignored += (query.named(field) for field in model.prompter.thinking(query).ignored)
        await model.backend.check()
        return model

    def _generate(
        self, request: Request, query: Query, model: Model, prompts: Sequence[GenerationRequest]
    ) -> AsyncGenerator[Piece, None]:
        """The pieces of all answers, once the request has joined the queue."""
        context, caller, prompter = context_of(request), caller_of(request), model.prompter
        ranked = query.candidates > query.n
        requests = [each for prompt in prompts for each in candidates(prompt, query.candidates, ranked)]
        context.prompt_tokens = sum(len(prompt.prompt_token_ids) for prompt in prompts)
        check_prompt_logprobs(query, context.prompt_tokens)
        max_tokens = [each.sampling.max_tokens for each in requests]
        check_tokens(query, max_tokens, self._max_tokens)
        turns = context.take_turns(model.queue, len(requests), query.priority, query.multiplier)
        caller.charge(context.prompt_tokens)
        answers = []
        for index, (each, turn) in enumerate(zip(requests, turns, strict=True)):
            listener = Listener(
                interpretation=prompter.interpretation(query, each),
                unpadder=prompter.unpadder(query, each),
                log_probs=prompter.log_probs(query, each),
                charge=caller.charge,
                thought_limit=prompter.thought_limit(query, each),
                grammar_source=None if each.sampling.grammar is None else grammar_source(query),
            )
            answers.append(stream_answer(model.backend, each, turn, listener, index))
        return merge(answers)


async def _checked(grammar: Grammar, grammars: GrammarCheck, query: Query, client: str) -> Grammar:
    """The grammar as the engine gets it. Raises InvalidRequest that names the client's field."""
    try:
        return await grammars.checked(grammar, client)
    except InvalidRequest as error:
        raise InvalidRequest(str(error), grammar_source(query)) from None


def _shown(query: Query, answers: Sequence[Answer]) -> Sequence[Answer]:
    """The best `n` of the answers to each prompt; all of them have what is known of the prompt."""
    for at, answer in enumerate(answers):
        answer.prompt = answers[at - at % query.candidates].prompt
    if query.candidates == query.n:
        return answers
    rivals = [answers[at : at + query.candidates] for at in range(0, len(answers), query.candidates)]
    return [answer for group in rivals for answer in best(group, query.n)]
