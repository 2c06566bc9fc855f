"""Engines side by side: all run the same batches, in turn.

Definitions:

Workload: a batch of prompts of one length, and the number of output tokens.
Round: every engine runs every workload once, with new prompts. The first engine is another one each time, so
    that no engine always runs after the same neighbour.
Throughput of a workload: output tokens of all requests / seconds from the prompts (as token ids) to the last
    token of the last answer. Prefill is included.
Prefill: prompt tokens / seconds of one request with one output token.
Loss: perplexity of an engine on a text / perplexity of the checkpoint in fp32 - 1. An engine that loses more
    than its `max_loss` has a speed that does not count: it has no ratio and is no best peer.
Best peer: the peer with the highest median throughput of a workload, among those whose speed counts.
Ratio: throughput of an engine / throughput of the best peer, or of its baseline where it has one. It is taken
    round by round, so that a slow minute of the machine slows down both.
Every figure is the median of the rounds, with the lowest and the highest.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from statistics import median

from bench.measured_engine import EngineSpec, MeasuredEngine, MeasurementFailed
from bench.quality import QualityText, perplexity

WARM_UP_TOKENS = 8

PromptMaker = Callable[[int, int], list[list[int]]]


@dataclass(frozen=True, slots=True)
class Workload:
    """`requests` prompts of `prompt_tokens` at the same time, each with `max_tokens` output tokens."""

    requests: int
    prompt_tokens: int
    max_tokens: int

    @property
    def is_prefill(self) -> bool:
        """Whether it measures the prompt alone."""
        return self.max_tokens == 1

    def tokens_per_s(self, seconds: float) -> float:
        """Prompt tokens per second of a prefill workload, output tokens per second of any other."""
        return self.requests * (self.prompt_tokens if self.is_prefill else self.max_tokens) / seconds


@dataclass(frozen=True, slots=True)
class BatchSample:
    """One workload run once by the engine `name` in one round, counted from 0."""

    name: str
    workload: Workload
    round: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """The throughput of this run."""
        return self.workload.tokens_per_s(self.seconds)


@dataclass(frozen=True, slots=True)
class Figure:
    """Median of the rounds, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """The figure of one value per round, one at least."""
        return cls(median(values), min(values), max(values))

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} ({self.low:{form}}-{self.high:{form}})"


@dataclass(slots=True)
class Comparison:
    """The engines, every sample, and the figures made of them.

    versions: by name. failures: why an engine is out, by name. perplexities: by name.
    checkpoint_perplexity: None when no text was scored.
    """

    specs: list[EngineSpec]
    workloads: list[Workload]
    versions: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    samples: list[BatchSample] = field(default_factory=list)
    perplexities: dict[str, float] = field(default_factory=dict)
    checkpoint_perplexity: float | None = None
    interrupted: bool = False

    def loss(self, name: str) -> float | None:
        """The loss of an engine; None where it has no perplexity."""
        if self.checkpoint_perplexity is None or name not in self.perplexities:
            return None
        return self.perplexities[name] / self.checkpoint_perplexity - 1

    def counts(self, spec: EngineSpec) -> bool:
        """Whether its speed counts. Without a text, every speed counts."""
        loss = self.loss(spec.name)
        return loss is None or loss <= spec.max_loss

    def throughput(self, name: str, workload: Workload) -> Figure | None:
        """Tokens/s of an engine; None where it has no sample, or is out."""
        values = list(self._by_round(name, workload).values())
        return Figure.of(values) if values else None

    def best_peer(self, workload: Workload) -> str | None:
        """The name of the best peer; None without a peer whose speed counts."""
        medians = {
            spec.name: figure.median
            for spec in self.specs
            if not spec.ours and self.counts(spec) and (figure := self.throughput(spec.name, workload))
        }
        return max(medians, key=lambda name: medians[name], default=None)

    def ratio(self, spec: EngineSpec, workload: Workload) -> Figure | None:
        """The ratio to the baseline or the best peer.

        None where the speed does not count, or the two engines have no round in common.
        """
        other = spec.baseline or self.best_peer(workload)
        if other is None or not self.counts(spec):
            return None
        own, others = self._by_round(spec.name, workload), self._by_round(other, workload)
        ratios = [own[number] / others[number] for number in own.keys() & others.keys()]
        return Figure.of(ratios) if ratios else None

    def _by_round(self, name: str, workload: Workload) -> dict[int, float]:
        """Tokens/s by round; empty for an engine that is out."""
        if name in self.failures:
            return {}
        return {
            sample.round: sample.tokens_per_s
            for sample in self.samples
            if sample.name == name and sample.workload == workload
        }


def compare(
    specs: Sequence[EngineSpec],
    workloads: Sequence[Workload],
    rounds: int,
    prompts: PromptMaker,
    report: Callable[[str], None],
    text: QualityText | None = None,
) -> Comparison:
    """Measure all engines. Ctrl-C ends the comparison with what was measured so far.

    prompts: makes n new prompts of m token ids each. report: called with each step, `steps` times.
    text: scored by every engine before the rounds.
    """
    comparison = Comparison(list(specs), list(workloads))
    engines: dict[str, MeasuredEngine] = {}
    try:
        if text:
            # First and alone: it may need more memory than all others.
            _score_checkpoint(comparison, text, report)
        for spec in specs:
            report(f"loading {spec.name}")
            with _failure_noted(comparison, spec.name):
                engines[spec.name] = engine = MeasuredEngine(spec)
                comparison.versions[spec.name] = engine.version
                if text and comparison.checkpoint_perplexity is not None and not spec.baseline:
                    comparison.perplexities[spec.name] = _score(engine, spec.name, text, report)
                largest = max(workloads, key=lambda workload: workload.requests)
                engine.run(prompts(largest.requests, largest.prompt_tokens), WARM_UP_TOKENS)
        for number, workload, turn in _schedule(rounds, workloads):
            batch = prompts(workload.requests, workload.prompt_tokens)
            for name in rotated([spec.name for spec in specs], turn):
                report(f"round {number + 1}: {name}")
                if name not in comparison.failures:
                    with _failure_noted(comparison, name):
                        seconds = engines[name].run(batch, workload.max_tokens)
                        comparison.samples.append(BatchSample(name, workload, number, seconds))
    except KeyboardInterrupt:
        comparison.interrupted = True
    finally:
        for engine in engines.values():
            engine.close()
    return comparison


def steps(
    specs: Sequence[EngineSpec], workloads: Sequence[Workload], rounds: int, text: QualityText | None
) -> int:
    """How many steps a comparison reports."""
    loads_and_runs = len(specs) * (1 + rounds * len(workloads))
    if not text:
        return loads_and_runs
    scoring = 1 + sum(not spec.baseline for spec in specs)
    return loads_and_runs + 1 + scoring * len(text.windows)


def _score_checkpoint(comparison: Comparison, text: QualityText, report: Callable[[str], None]) -> None:
    name = text.checkpoint.name
    report(f"loading {name}")
    with _failure_noted(comparison, name), closing(MeasuredEngine(text.checkpoint)) as checkpoint:
        comparison.checkpoint_perplexity = _score(checkpoint, name, text, report)


def _score(engine: MeasuredEngine, name: str, text: QualityText, report: Callable[[str], None]) -> float:
    log_probs = []
    for window in engine.score(text.windows):
        report(f"{name} scores the text")
        log_probs.append(window)
    return perplexity(log_probs)


def _schedule(rounds: int, workloads: Sequence[Workload]) -> Iterator[tuple[int, Workload, int]]:
    """Round, workload, and a number that grows by one each time."""
    for number in range(rounds):
        for index, workload in enumerate(workloads):
            yield number, workload, number * len(workloads) + index


def rotated(names: list[str], turn: int) -> list[str]:
    """The names, starting with number `turn` modulo their count."""
    first = turn % len(names)
    return names[first:] + names[:first]


@contextmanager
def _failure_noted(comparison: Comparison, name: str) -> Iterator[None]:
    """An engine that fails is out, with its reason; the others continue."""
    try:
        yield
    except MeasurementFailed as error:
        comparison.failures[name] = str(error)
