"""What Prometheus reads at /metrics: how busy each engine is, and how many wait for it."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.models import Models


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


def registry(models: Models) -> CollectorRegistry:
    """Everything this server publishes."""
    registry = CollectorRegistry()
    registry.register(EngineLoad(models))
    registry.register(Queues(models))
    return registry
