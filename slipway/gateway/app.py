"""The application: its endpoints and what surrounds them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from slipway.gateway import model_control
from slipway.gateway.answering import Answering
from slipway.gateway.chat import router as chat
from slipway.gateway.completions import router as completions
from slipway.gateway.fair_threads import FairThreads
from slipway.gateway.http.body_memory import BodyMemory
from slipway.gateway.http.context import RequestContextMiddleware
from slipway.gateway.http.documentation import DocumentedApp
from slipway.gateway.http.error_response import add_error_handlers
from slipway.gateway.http.shutdown import Shutdown
from slipway.gateway.keys.access import OPEN_PATHS, guard, open_to_origins
from slipway.gateway.messages import router as messages
from slipway.gateway.metrics import RequestMetrics, registry
from slipway.gateway.models import Models
from slipway.gateway.reading import BodyReader
from slipway.gateway.responses import router as responses
from slipway.gateway.settings import Settings
from slipway.gateway.shapes.error import ErrorBody
from slipway.gateway.tokens import router as tokens
from slipway.gateway.version import Version, version

_APIS = (chat, completions, tokens, messages, responses, model_control)
# They read, render and tokenize long bodies. More would take memory, and time from streams.
_TEXT_THREADS = 2
_MAX_TEXTS = 256  # of one client
EXAMPLES = {path: example for api in _APIS for path, example in api.EXAMPLES.items()}


def create_app(models: Models, settings: Settings, shutdown: Shutdown) -> FastAPI:
    """The application.

    shutdown: once the server drains, new requests are refused, and it is not ready. Once it stops, every
        running answer ends with an error.
    The backends are closed when the application shuts down.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        threads.close()
        await models.close()

    app = DocumentedApp(
        examples=EXAMPLES,
        example_model=next(iter(models)).name,
        open_paths=None if settings.access.keys is None else OPEN_PATHS,
        title="Slipway",
        description="OpenAI's and Anthropic's APIs in front of engines on Triton or on this machine.",
        lifespan=lifespan,
        redirect_slashes=False,
        responses={"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}},
    )
    metrics = registry(models)
    threads = FairThreads(_TEXT_THREADS, _MAX_TEXTS, "long bodies")
    memory = BodyMemory(settings.max_bodies_bytes)
    bodies = BodyReader(settings.max_body_bytes, memory, settings.arrival_timeout, shutdown)
    answering = Answering(models, settings.max_request_tokens, shutdown.stopping)
    app.include_router(chat.router(bodies, answering))
    app.include_router(completions.router(bodies, answering))
    app.include_router(tokens.router(bodies, models))
    app.include_router(messages.router(bodies, answering))
    app.include_router(responses.router(bodies, answering))
    app.include_router(_about_the_server(models, metrics, shutdown))
    app.include_router(model_control.router(bodies, models))
    add_error_handlers(app)
    guard(app, settings.access)
    count = RequestMetrics(metrics).count
    app.add_middleware(
        RequestContextMiddleware,
        timeout_s=settings.timeout,
        on_end=count,
        threads=threads,
        stopping=shutdown.stopping,
    )
    open_to_origins(app, settings.access)
    return app


def _about_the_server(models: Models, metrics: CollectorRegistry, shutdown: Shutdown) -> APIRouter:
    routes = APIRouter()

    @routes.get("/ping")
    @routes.get("/health/live")
    async def live() -> dict[str, str]:
        """The server runs."""
        return {"status": "live"}

    @routes.get("/health")
    @routes.get("/health/ready")
    async def ready() -> dict[str, str]:
        """A model would answer now."""
        shutdown.check()
        await models.check()
        return {"status": "ready"}

    @routes.get("/version")
    async def tell_version() -> Version:
        """Of Slipway, and of the packages it runs on."""
        return version()

    @routes.get("/metrics", response_class=Response)
    async def prometheus() -> Response:
        """Figures for Prometheus."""
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    return routes
