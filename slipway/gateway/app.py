"""The HTTP endpoints; `gateway.server` runs them. A request's way: body, model, prompt, answer, reply."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from slipway.contract.generation import GenerationRequest
from slipway.gateway import bounds, model_control
from slipway.gateway.answers.answer import answer, blaming
from slipway.gateway.answers.choices import begun, best, candidates, merged, wholes
from slipway.gateway.api.body import Addressed, Body, GenerationBody, Waiting
from slipway.gateway.api.chat import ChatCompletionRequest
from slipway.gateway.api.chat_reply import ChatCompletion, ChatReply, Tier
from slipway.gateway.api.completions import Completion, CompletionReply, CompletionRequest
from slipway.gateway.api.error import ErrorBody
from slipway.gateway.api.message_reply import MessageResponse, MessagesReply, TokensCount
from slipway.gateway.api.messages import CountTokensRequest, MessagesRequest
from slipway.gateway.api.reply import Head, Reply, as_json
from slipway.gateway.api.response_object import InputTokens, ResponseDeleted, ResponseObject
from slipway.gateway.api.response_reply import ResponsesReply
from slipway.gateway.api.responses import ResponsesRequest
from slipway.gateway.api.tokens import Detokenized, DetokenizeRequest, TokenizeRequest, Tokens
from slipway.gateway.api.usage import Usage
from slipway.gateway.errors import NotOffered
from slipway.gateway.grammars import structure
from slipway.gateway.http.connection import attended, client_leaves, read_body
from slipway.gateway.http.documentation import DocumentedApp
from slipway.gateway.http.error_response import MESSAGES, answer_errors
from slipway.gateway.http.sse import EventStream, events
from slipway.gateway.http.visit import Visit, Visits
from slipway.gateway.keys.access import caller_of, guard, open_to_origins
from slipway.gateway.metrics import Requests, registry
from slipway.gateway.models import Model, Models
from slipway.gateway.response_store import Kept, ResponseStore
from slipway.gateway.settings import Settings
from slipway.gateway.translation import Translation, Turn
from slipway.gateway.validation import check_media_type, check_options, parse
from slipway.gateway.version import Version, version

# Longer bodies are read and tokenised in a thread, so that streams go on meanwhile; 8 KiB take about 2 ms.
_SHORT_BODY = 8192
# How long the headers of a stream wait for its first token: less than the shortest patience of a proxy.
_PATIENCE_S = 10.0
_RESPONSES = "/v1/responses"

A = TypeVar("A", bound=Addressed)
B = TypeVar("B", bound=Body)
P = TypeVar("P")
Q = ParamSpec("Q")


def create_app(models: Models, settings: Settings, stopping: asyncio.Event) -> FastAPI:
    """The application.

    stopping: set when the server was told to end; every running answer then ends with an error.
    The backends are closed when the application shuts down.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await models.close()

    app = DocumentedApp(
        shown_model=next(iter(models)).name,
        asks_for_keys=settings.access.keys is not None,
        title="Slipway",
        description="OpenAI's and Anthropic's APIs in front of engines on Triton or on this machine.",
        lifespan=lifespan,
        redirect_slashes=False,
        responses={"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}},
    )
    metrics = registry(models)
    kept = ResponseStore()

    async def read(request: Request, schema: type[B]) -> tuple[B, bool]:
        """The body, and whether it is short. Counted as a request of the caller's, whatever becomes of it."""
        caller_of(request).enter()
        check_media_type(request.headers.get("content-type"), request.headers.get("content-encoding"))
        visit: Visit = request.state.visit
        arriving = read_body(request, settings.max_body_bytes, settings.arrival_timeout)
        content = await attended(arriving, stopping, visit.deadline)
        short = len(content) <= _SHORT_BODY
        return await _prepared(short, parse, content, schema), short

    async def read_question(request: Request, schema: type[A]) -> tuple[A, Model, bool]:
        """The checked body, its model, which is ready, and whether the body is short."""
        body, short = await read(request, schema)
        visit: Visit = request.state.visit
        visit.model = body.model
        if isinstance(body, Waiting):
            visit.deadline = visit.deadline.asked(body.timeout)
        if isinstance(body, GenerationBody):
            check_options(body)
        model = await models.find(body.model, caller_of(request))
        visit.served = model.name
        await model.backend.check()
        return body, model, short

    async def reply(
        request: Request, body: GenerationBody, model: Model, asked: Sequence[GenerationRequest], shape: Reply
    ) -> Response:
        shown, generated = body.n or 1, body.candidates
        ranked = generated > shown
        requests = [each for prompt in asked for each in candidates(prompt, generated, ranked)]
        told_by = None if body.likeliest is None else model.prompter.tokenizer
        visit: Visit = request.state.visit
        visit.prompt_tokens = prompt_tokens = sum(len(each.prompt_token_ids) for each in asked)
        lengths = [each.sampling.max_tokens for each in requests]
        bounds.check_tokens(lengths, settings.max_request_tokens, body.multiplier)
        turns = visit.take_turns(model.queue, len(requests), body.priority, body.multiplier)
        caller = caller_of(request)
        caller.charge(prompt_tokens)
        answers = [
            answer(model.backend, each, turn, told_by) for each, turn in zip(requests, turns, strict=True)
        ]
        if isinstance(body, ChatCompletionRequest):
            answers = [
                model.prompter.interpreted(body, each, pieces)
                for each, pieces in zip(requests, answers, strict=True)
            ]
        shaped = asked[0].sampling.grammar is not None
        if shaped:
            answers = [blaming(structure.field(body), pieces) for pieces in answers]
        choices = merged([caller.charged(pieces) for pieces in answers])
        if shaped and body.stream:
            # A grammar is tried by the engine; a bad one is to be a 400, not an event of a stream.
            choices = await attended(
                begun(choices, _PATIENCE_S), stopping, visit.deadline, client_leaves(request)
            )
        if body.stream:
            sent = events(shape, choices, len(asked), shown, prompt_tokens)
            return EventStream(shape, sent, stopping, visit.deadline)
        complete = await attended(
            wholes(choices, len(requests)), stopping, visit.deadline, client_leaves(request)
        )
        tokens = sum(each.tokens for each in complete)
        usage = Usage.of(prompt_tokens, tokens, [each.cached_tokens for each in complete[::generated]])
        if ranked:
            rivals = [complete[at : at + generated] for at in range(0, len(complete), generated)]
            complete = [each for group in rivals for each in best(group, shown)]
        return Response(as_json(shape.whole(complete, usage)), media_type="application/json")

    async def converse(
        request: Request, chat: Translation, model: Model, short: bool, shape: Callable[[int], Reply]
    ) -> Response:
        """Answer the chat that another API asks for. shape: given how many tokens the prompt has."""
        with chat.blaming():
            body = chat.chat()
            asked = await _prepared(short, model.prompter.chat, body, request.state.id)
            return await reply(request, body, model, [asked], shape(len(asked.prompt_token_ids)))

    def earlier_turns(request: Request, body: ResponsesRequest) -> tuple[Turn, ...]:
        """Those up to the response that `body` goes on from. Raises ResponseNotFound."""
        if body.previous_response_id is None:
            return ()
        return kept.get(body.previous_response_id, caller_of(request).name, "previous_response_id").turns

    @app.post("/v1/chat/completions", response_model=ChatCompletion)
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation, as one body or as a stream of chunks."""
        body, model, short = await read_question(request, ChatCompletionRequest)
        asked = await _prepared(short, model.prompter.chat, body, request.state.id)
        head = Head(f"chatcmpl-{request.state.id}", model.name)
        tier: Tier | None = "default" if body.service_tier else None
        shape = ChatReply(head, body.with_usage, _prompts(body, [asked]), tier)
        return await reply(request, body, model, [asked], shape)

    @app.post("/v1/completions", response_model=Completion)
    async def completions(request: Request) -> Response:
        """Go on from a prompt or from several, as one body or as a stream of chunks."""
        body, model, short = await read_question(request, CompletionRequest)
        asked = await _prepared(short, model.prompter.completions, body, request.state.id)
        head = Head(f"cmpl-{request.state.id}", model.name)
        shape = CompletionReply(head, body.with_usage, _prompts(body, asked), model.prompter.echoes(body))
        return await reply(request, body, model, asked, shape)

    @app.post("/tokenize", response_model=Tokens)
    async def tokenize(request: Request) -> Tokens:
        """The tokens of a prompt or a conversation, as the model reads them."""
        body, short = await read(request, TokenizeRequest)
        model = await models.find(body.model, caller_of(request))
        return await _prepared(short, model.prompter.tokens, body)

    @app.post("/detokenize", response_model=Detokenized)
    async def detokenize(request: Request) -> Detokenized:
        """The text of tokens."""
        body, short = await read(request, DetokenizeRequest)
        model = await models.find(body.model, caller_of(request))
        return await _prepared(short, model.prompter.text, body)

    @app.post(MESSAGES, response_model=MessageResponse)
    async def messages(request: Request) -> Response:
        """Answer a conversation in the shapes of Anthropic's API, as one message or as its events."""
        body, model, short = await read_question(request, MessagesRequest)
        head = Head(f"msg_{request.state.id}", model.name)

        def shape(prompt_tokens: int) -> MessagesReply:
            return MessagesReply(head, prompt_tokens, body.stop_sequences or ())

        return await converse(request, body.translation(), model, short, shape)

    @app.post(f"{MESSAGES}/count_tokens")
    async def count_tokens(request: Request) -> TokensCount:
        """How many tokens the prompt of a message would have."""
        body, model, _ = await read_question(request, CountTokensRequest)
        chat = body.translation()
        with chat.blaming():
            return TokensCount(input_tokens=await asyncio.to_thread(model.prompter.count, chat.chat()))

    @app.post(_RESPONSES, response_model=ResponseObject)
    async def responses(request: Request) -> Response:
        """Answer a conversation in the shapes of OpenAI's newer API, as one response or as its events."""
        body, model, short = await read_question(request, ResponsesRequest)
        earlier, owner = earlier_turns(request, body), caller_of(request).name
        said = body.said()
        begun = ResponseObject.begun(Head(f"resp_{request.state.id}", model.name), body)

        def keep(ended: ResponseObject, answered: list[Turn]) -> None:
            kept.put(ended.id, Kept(as_json(ended), (*earlier, *said.turns, *answered), owner))

        return await converse(
            request, body.translation(earlier, said), model, short, lambda _: ResponsesReply(begun, keep)
        )

    @app.post(f"{_RESPONSES}/input_tokens")
    async def count_input_tokens(request: Request) -> InputTokens:
        """How many tokens the prompt of a response would have."""
        body, model, _ = await read_question(request, ResponsesRequest)
        chat = body.translation(earlier_turns(request, body), body.said())
        with chat.blaming():
            count = await asyncio.to_thread(model.prompter.count, chat.chat())
        return InputTokens(object="response.input_tokens", input_tokens=count)

    @app.get(f"{_RESPONSES}/{{response_id}}", response_model=ResponseObject)
    async def retrieve_response(request: Request, response_id: str) -> Response:
        """A response that is still kept."""
        if request.query_params.get("stream", "false") != "false":
            raise NotOffered("stream is set: a response that is kept comes whole; leave it out.", "stream")
        return Response(kept.get(response_id, caller_of(request).name).body, media_type="application/json")

    @app.delete(f"{_RESPONSES}/{{response_id}}")
    async def delete_response(request: Request, response_id: str) -> ResponseDeleted:
        """Forget a response."""
        kept.delete(response_id, caller_of(request).name)
        return ResponseDeleted(id=response_id, object="response", deleted=True)

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """The server runs."""
        return {"status": "live"}

    @app.get("/health/ready")
    async def ready() -> dict[str, str]:
        """A model would answer now."""
        await models.check()
        return {"status": "ready"}

    @app.get("/version")
    async def tell_version() -> Version:
        """Of Slipway, and of the packages it runs on."""
        return version()

    @app.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """Figures for Prometheus."""
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    model_control.add(app, models, read)
    answer_errors(app)
    guard(app, settings.access)
    app.add_middleware(Visits, timeout_s=settings.timeout, over=Requests(metrics).count)
    open_to_origins(app, settings.access)
    return app


async def _prepared(short: bool, prepare: Callable[Q, P], *asked: Q.args, **named: Q.kwargs) -> P:
    if short:
        return prepare(*asked, **named)
    return await asyncio.to_thread(prepare, *asked, **named)


def _prompts(body: GenerationBody, asked: Sequence[GenerationRequest]) -> list[int]:
    """How many tokens the prompt of each answer has, where chunks are to tell the usage so far."""
    if not body.with_running_usage:
        return []
    return [len(prompt.prompt_token_ids) for prompt in asked for _ in range(body.n or 1)]
