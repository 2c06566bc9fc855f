"""What Prometheus reads at /metrics: engines, those who wait for them, and what became of requests."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from slipway.gateway.http.visit import Visit
from slipway.gateway.models import Models

# Seconds. A cached prompt on a GPU takes some milliseconds, a long one on a laptop a minute.
_UNTIL_FIRST = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_UNTIL_OVER = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class EngineLoad(Collector):
    """Asks the engines when Prometheus asks. Engines behind Triton are on Triton's own metrics port."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """The figures of now; the counters start again with an engine that died."""
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
        for model in self._models:
            load = model.backend.load
            if load is not None:
                running.add_metric([model.name], load.running)
                waiting.add_metric([model.name], load.waiting)
                generated.add_metric([model.name], load.generated_tokens)
                drafted.add_metric([model.name], load.draft_tokens)
                accepted.add_metric([model.name], load.accepted_tokens)
        yield running
        yield waiting
        yield generated
        yield drafted
        yield accepted


class Queues(Collector):
    """The queues before the engines, of every backend."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """The figures of now."""
        labels = ["model"]
        queued = GaugeMetricFamily("slipway_queued_requests", "Answers that wait for a place.", labels=labels)
        refused = CounterMetricFamily(
            "slipway_refused_requests", "Requests that found the queue full.", labels=labels
        )
        for model in self._models:
            queued.add_metric([model.name], model.queue.waiting)
            refused.add_metric([model.name], model.queue.refused)
        yield queued
        yield refused


class Requests:
    """What became of those who asked a model, of every backend."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def described(name: str, what: str) -> tuple[str, str, list[str]]:
            return f"slipway_{name}", what, ["model"]

        self._over = Counter(
            "slipway_requests", "Requests that are over.", ["model", "status"], registry=registry
        )
        self._prompt = Counter(*described("prompt_tokens", "Tokens of their prompts."), registry=registry)
        self._first = Histogram(
            *described("time_to_first_token_seconds", "From a request's arrival, for each answer."),
            buckets=_UNTIL_FIRST,
            registry=registry,
        )
        self._seconds = Histogram(
            *described("request_seconds", "From a request's arrival to the end of its answers."),
            buckets=_UNTIL_OVER,
            registry=registry,
        )

    def count(self, visit: Visit, status: int) -> None:
        """Take one that is over. One that found no model, or none for it, is nobody's."""
        if visit.served is None:
            return
        self._over.labels(visit.served, status).inc()
        if not visit.turns:
            return
        arrived = visit.deadline.arrived
        self._prompt.labels(visit.served).inc(visit.prompt_tokens)
        self._seconds.labels(visit.served).observe(time.monotonic() - arrived)
        for turn in visit.turns:
            if turn.first:
                self._first.labels(visit.served).observe(turn.first - arrived)


def registry(models: Models) -> CollectorRegistry:
    """Everything this server publishes."""
    # When each series began would be as many series again.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    registry.register(EngineLoad(models))
    registry.register(Queues(models))
    return registry
