"""The engine's own counts on Triton's metrics port."""

import triton_python_backend_utils as pb_utils

from slipway.runtime.stats import EngineStats

_GAUGES = {"running": "slipway_running_requests", "waiting": "slipway_waiting_requests"}
_COUNTERS = {
    "generated_tokens": "slipway_generated_tokens_total",
    "draft_tokens": "slipway_draft_tokens_total",
    "accepted_tokens": "slipway_accepted_draft_tokens_total",
}
_MEANING = {
    "running": "Requests running in the engine",
    "waiting": "Requests waiting in the engine",
    "generated_tokens": "Tokens generated, whether clients read them or not",
    "draft_tokens": "Tokens guessed ahead of the model",
    "accepted_tokens": "Guessed tokens that were right",
}


class Gauges:
    """The gauges and counters above, labelled with the model."""

    def __init__(self, model: str) -> None:
        # A family must outlive its metrics, or Triton drops them.
        self._families = {
            figure: pb_utils.MetricFamily(
                name=name,
                description=_MEANING[figure],
                kind=pb_utils.MetricFamily.GAUGE if figure in _GAUGES else pb_utils.MetricFamily.COUNTER,
            )
            # The counters first, so that the tokens of a slot are counted before it shows as free.
            for figure, name in (_COUNTERS | _GAUGES).items()
        }
        self._metrics = {
            figure: family.Metric(labels={"model": model}) for figure, family in self._families.items()
        }
        self._shown = dict.fromkeys(self._metrics, 0)

    def show(self, stats: EngineStats) -> None:
        """Set the figures that changed: each is a call into Triton."""
        for figure, metric in self._metrics.items():
            value, shown = getattr(stats, figure), self._shown[figure]
            if value == shown:
                continue
            if figure in _GAUGES:
                metric.set(value)
            else:
                # An engine that was started again counts from 0.
                metric.increment(value - shown if value > shown else value)
            self._shown[figure] = value
