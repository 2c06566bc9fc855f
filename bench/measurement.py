"""The samples of a load test, and the figures made of them.

Names and definitions are those of NVIDIA AIPerf's metrics reference and MLPerf Inference's LLM rules:

TTFT: time to first token: arrival of the first chunk with text minus the start of the request. The thoughts
    of a reasoning model are text too.
TTFO: time to first output token: likewise, of the first chunk that is no thought.
TPOT: time per output token after the first, one value per request: (E2E - TTFT) / (tokens - 1). AIPerf
    calls it inter-token latency.
E2E: end-to-end latency: arrival of the chunk that carries the finish reason minus the start of the request.
Chunk gap: time between two neighbouring chunks with text. A chunk may hold several tokens, so this is not
    TPOT.
Output throughput: output tokens that arrived inside the window / length of the window.

Tokens are counted by the server (`usage`); the client sees only text. All times are in seconds.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class RequestSample:
    """One request as the client saw it.

    started_s: when it was sent, counted from the opening of the window; negative for one sent before.
    chunks_s: arrival of each chunk with text, counted from `started_s`. e2e_s: likewise, of the end.
    ttfo_s: time to first output token; None when the answer was nothing but thoughts, or failed.
    prompt_tokens, output_tokens: the server's count; 0 when the request failed.
    failure: the cause, in the same words for the same cause; None for a success.
    """

    started_s: float
    chunks_s: tuple[float, ...]
    e2e_s: float
    ttfo_s: float | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    failure: str | None = None

    @property
    def ended_s(self) -> float:
        """When the answer was complete, counted from the opening of the window."""
        return self.started_s + self.e2e_s

    @property
    def ttft_s(self) -> float | None:
        """Time to first token; None when no text came."""
        return self.chunks_s[0] if self.chunks_s else None

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first; None for answers of fewer than two tokens."""
        if not self.chunks_s or self.output_tokens < 2:
            return None
        return (self.e2e_s - self.chunks_s[0]) / (self.output_tokens - 1)

    @property
    def chunk_gaps_s(self) -> tuple[float, ...]:
        """Times between neighbouring chunks."""
        return tuple(float(gap) for gap in np.diff(self.chunks_s))

    def tokens_within(self, window_s: float) -> float:
        """Output tokens that arrived inside [0, window_s]. Each chunk counts as an equal share of them.

        Tokens without any text arrive with the end.
        """
        arrivals = self.chunks_s or (self.e2e_s,)
        inside = sum(0 <= self.started_s + arrival <= window_s for arrival in arrivals)
        return self.output_tokens * inside / len(arrivals)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Mean and percentiles of raw values in seconds, linearly interpolated between neighbours (NumPy)."""

    mean: float
    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Distribution | None":
        """The distribution of the values that are not None; None without any."""
        present = np.array([value for value in values if value is not None], dtype=np.float64)
        if present.size == 0:
            return None
        p50, p90, p99 = (float(value) for value in np.percentile(present, [50, 90, 99]))
        return cls(float(present.mean()), p50, p90, p99)


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one run.

    window_s: length of the window, which opens when the last user has spawned.
    requests: number of successful requests that ended after the opening, also those after the close.
    failures: number of failed requests, by reason.
    only_thoughts: number of the successful ones that reached no word of the answer.
    """

    window_s: float
    requests: int
    failures: dict[str, int]
    only_thoughts: int
    prompt_tokens_mean: float
    output_tokens_mean: float
    output_tokens_per_s: float
    requests_per_s: float
    ttft_s: Distribution | None
    ttfo_s: Distribution | None
    tpot_s: Distribution | None
    e2e_s: Distribution | None
    chunk_gap_s: Distribution | None


def summarize(samples: Sequence[RequestSample], window_s: float) -> Summary:
    """The figures of a run whose window was [0, window_s].

    Requests that ended before the window opened are left out. Rates count what happened inside the window.
    Latencies also count the requests that were running at its close: without them, short requests would be
    counted more often than long ones.
    """
    measured = [sample for sample in samples if sample.ended_s >= 0]
    good = [sample for sample in measured if sample.failure is None]
    ended_inside = sum(sample.ended_s <= window_s for sample in good)
    tokens_inside = sum(sample.tokens_within(window_s) for sample in good)
    return Summary(
        window_s=window_s,
        requests=len(good),
        failures=dict(Counter(sample.failure for sample in measured if sample.failure is not None)),
        only_thoughts=sum(sample.ttfo_s is None for sample in good),
        prompt_tokens_mean=_mean([sample.prompt_tokens for sample in good]),
        output_tokens_mean=_mean([sample.output_tokens for sample in good]),
        output_tokens_per_s=tokens_inside / window_s if window_s > 0 else 0.0,
        requests_per_s=ended_inside / window_s if window_s > 0 else 0.0,
        ttft_s=Distribution.of(sample.ttft_s for sample in good),
        ttfo_s=Distribution.of(sample.ttfo_s for sample in good),
        tpot_s=Distribution.of(sample.tpot_s for sample in good),
        e2e_s=Distribution.of(sample.e2e_s for sample in good),
        chunk_gap_s=Distribution.of(gap for sample in good for gap in sample.chunk_gaps_s),
    )


def _mean(counts: Sequence[int]) -> float:
    return sum(counts) / len(counts) if counts else 0.0
