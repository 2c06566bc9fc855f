"""The engine's own counts on Triton's metrics port; kept by `ensemble.engine`."""

import triton_python_backend_utils as pb_utils

from runtime.stats import EngineStats


class Gauges:
    """slipway_running_requests and slipway_waiting_requests, labelled with the model."""

    def __init__(self, model: str) -> None:
        # A family must outlive its metrics, or Triton forgets them.
        self._families = [
            pb_utils.MetricFamily(
                name=f"slipway_{state}_requests",
                description=f"Requests {state} in the engine",
                kind=pb_utils.MetricFamily.GAUGE,
            )
            for state in ("running", "waiting")
        ]
        self._metrics = [family.Metric(labels={"model": model}) for family in self._families]
        self._shown = [0, 0]

    def show(self, stats: EngineStats) -> None:
        """Set the gauges where they changed (each is a call into Triton)."""
        for index, value in enumerate((stats.running, stats.waiting)):
            if self._shown[index] != value:
                self._metrics[index].set(value)
                self._shown[index] = value
