"""The Prometheus metrics at /metrics: engines, queues and requests."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from slipway.gateway.http.context import RequestContext
from slipway.gateway.models import Models
from slipway.gateway.queue import Turn

# Buckets in seconds. A cached prompt on a GPU takes milliseconds, a long one on a laptop a minute.
_FIRST_TOKEN_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_REQUEST_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class ModelMetrics(Collector):
    """Figures of engines and queues, read when Prometheus asks.

    Triton publishes those of its engines on its own port. Counters of an engine restart with it.
    """

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yield the current figures of every model."""
        labels = ["model"]
        running = GaugeMetricFamily("slipway_running_requests", "Requests that hold a slot.", labels=labels)
        waiting = GaugeMetricFamily("slipway_waiting_requests", "Requests without a slot yet.", labels=labels)
        generated = CounterMetricFamily(
            "slipway_generated_tokens", "Tokens generated, read by their clients or not.", labels=labels
        )
        drafted = CounterMetricFamily(
            "slipway_draft_tokens", "Tokens guessed ahead of the model.", labels=labels
        )
        accepted = CounterMetricFamily(
            "slipway_accepted_draft_tokens", "Guessed tokens that were right.", labels=labels
        )
        queued = GaugeMetricFamily("slipway_queued_requests", "Answers that wait for a place.", labels=labels)
        refused = CounterMetricFamily(
            "slipway_refused_requests", "Requests that found the queue full.", labels=labels
        )
        for model in self._models:
            queued.add_metric([model.name], model.queue.waiting)
            refused.add_metric([model.name], model.queue.refused)
            stats = model.backend.stats
            if stats is not None:
                running.add_metric([model.name], stats.running)
                waiting.add_metric([model.name], stats.waiting)
                generated.add_metric([model.name], stats.generated_tokens)
                drafted.add_metric([model.name], stats.draft_tokens)
                accepted.add_metric([model.name], stats.accepted_tokens)
        yield from (running, waiting, generated, drafted, accepted, queued, refused)


class RequestMetrics:
    """Figures of requests that are over, by model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "slipway_requests", "Requests that are over.", ["model", "status"], registry=registry
        )
        self._prompt_tokens = Counter(
            "slipway_prompt_tokens", "Tokens of their prompts.", ["model"], registry=registry
        )
        self._first_token_s = Histogram(
            "slipway_time_to_first_token_seconds",
            "From a request's arrival, for each answer.",
            ["model"],
            buckets=_FIRST_TOKEN_BUCKETS,
            registry=registry,
        )
        self._answer_s = Histogram(
            "slipway_time_to_answer_seconds",
            "From a request's arrival to the first token that is no reasoning, for each answer.",
            ["model"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._reasoning_s = Histogram(
            "slipway_reasoning_seconds",
            "How long the model thought before an answer, for each answer with reasoning.",
            ["model"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._reasoning_tokens = Counter(
            "slipway_reasoning_tokens", "Tokens of answers that were reasoning.", ["model"], registry=registry
        )
        self._request_s = Histogram(
            "slipway_request_seconds",
            "From a request's arrival to the end of its answers.",
            ["model"],
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )

    def count(self, context: RequestContext, status: int) -> None:
        """Count a request that is over; without a model it belongs to no series."""
        if context.served is None:
            return
        self._requests.labels(context.served, status).inc()
        if not context.turns:
            return
        arrived = context.deadline.arrived
        self._prompt_tokens.labels(context.served).inc(context.prompt_tokens)
        self._request_s.labels(context.served).observe(time.monotonic() - arrived)
        for turn in context.turns:
            self._count_answer(context.served, turn, arrived)

    def _count_answer(self, model: str, turn: Turn, arrived: float) -> None:
        if turn.first:
            self._first_token_s.labels(model).observe(turn.first - arrived)
        if turn.answered:
            self._answer_s.labels(model).observe(turn.answered - arrived)
        if turn.reasoning_tokens:
            self._reasoning_tokens.labels(model).inc(turn.reasoning_tokens)
            self._reasoning_s.labels(model).observe((turn.answered or time.monotonic()) - turn.first)


def registry(models: Models) -> CollectorRegistry:
    """Return a registry with the metrics of the models."""
    # The time at which each series was created would double their number.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    registry.register(ModelMetrics(models))
    return registry
