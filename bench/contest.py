"""Engines side by side: the same batches for all, interleaved, and the figures made of the times.

Called by the command `runtime`. Definitions:

Round: every contestant runs every point once, point by point, with prompts that no one has seen before. The
    order of the contestants moves on by one each time, so that none is always after the same neighbour.
Throughput of a point: output tokens of all requests / seconds from the prompts (as token ids) to the last
    token of the last answer. Prefill is included.
Prefill: prompt tokens / seconds of one request of one output token.
Loss: what a contestant has more of perplexity on a text than the checkpoint in fp32, as a share of that. Who
    loses more than it may is shown, but its speed does not count: it has no ratio and is no best peer.
Ratio: of a contestant to the best peer, which is the one with the highest median at that point among those
    whose speed counts. Taken round by round, so that what slowed the machine down slowed both.
Every figure is the median of the rounds, with the lowest and the highest.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from statistics import median

from bench.contestant import Contestant, ContestantFailed, Entry
from bench.reading import Reading, perplexity

WARM_UP_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Point:
    """What is measured: `requests` prompts of `prompt_tokens` at the same time, `max_tokens` out of each."""

    requests: int
    prompt_tokens: int
    max_tokens: int

    @property
    def is_prefill(self) -> bool:
        """Whether it measures the prompt alone."""
        return self.max_tokens == 1

    def tokens_per_s(self, seconds: float) -> float:
        """The figure of this point, see the definitions above."""
        return self.requests * (self.prompt_tokens if self.is_prefill else self.max_tokens) / seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One point run once by one contestant (`name`) in one round, counted from 0."""

    name: str
    point: Point
    round: int
    seconds: float

    @property
    def tokens_per_s(self) -> float:
        """The figure of this run."""
        return self.point.tokens_per_s(self.seconds)


@dataclass(frozen=True, slots=True)
class Figure:
    """Median of the rounds, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure | None":
        """The figure of one value per round; None without any."""
        return cls.over(values) if values else None

    @classmethod
    def over(cls, values: Sequence[float]) -> "Figure":
        """The figure of one value per round, one at least."""
        return cls(median(values), min(values), max(values))

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} ({self.low:{form}}-{self.high:{form}})"


@dataclass(slots=True)
class Contest:
    """What happened: who took part (`versions`, by name), who dropped out and why, and every sample.

    perplexities: by name, of those who read the text. checkpoint_perplexity: None when no text was read.
    """

    entries: list[Entry]
    points: list[Point]
    versions: dict[str, str]
    failures: dict[str, str]
    samples: list[Sample]
    perplexities: dict[str, float] = field(default_factory=dict)
    checkpoint_perplexity: float | None = None
    interrupted: bool = False

    def loss(self, name: str) -> float | None:
        """The loss of a contestant, where it is known."""
        if self.checkpoint_perplexity is None or name not in self.perplexities:
            return None
        return self.perplexities[name] / self.checkpoint_perplexity - 1

    def counts(self, entry: Entry) -> bool:
        """Whether its speed counts; that of all does where no text was read."""
        loss = self.loss(entry.name)
        return loss is None or loss <= entry.may_lose

    def throughput(self, name: str, point: Point) -> Figure | None:
        """Tokens/s of a contestant at a point."""
        return Figure.of(list(self._by_round(name, point).values()))

    def best_peer(self, point: Point) -> str | None:
        """The peer with the highest median at a point, of those whose speed counts."""
        medians = {
            entry.name: figure.median
            for entry in self.entries
            if not entry.ours and self.counts(entry) and (figure := self.throughput(entry.name, point))
        }
        return max(medians, key=lambda name: medians[name], default=None)

    def ratio(self, entry: Entry, point: Point) -> Figure | None:
        """Throughput over the engine's in process or, without `behind`, the best peer's.

        None where its speed does not count, and where the two have no round in common.
        """
        other = entry.behind or self.best_peer(point)
        if other is None or not self.counts(entry):
            return None
        own, theirs = self._by_round(entry.name, point), self._by_round(other, point)
        return Figure.of([own[number] / theirs[number] for number in own.keys() & theirs.keys()])

    def _by_round(self, name: str, point: Point) -> dict[int, float]:
        """Tokens/s by round. Who dropped out has no figures: a speed counts only for a whole run."""
        if name in self.failures:
            return {}
        return {
            sample.round: sample.tokens_per_s
            for sample in self.samples
            if sample.name == name and sample.point == point
        }


def hold(
    entries: Sequence[Entry],
    points: Sequence[Point],
    rounds: int,
    prompts: Callable[[int, int], list[list[int]]],
    report: Callable[[str], None],
    reading: Reading | None = None,
) -> Contest:
    """Run the contest; Ctrl-C ends it with what has been measured.

    prompts: makes n new prompts of m token ids each. report: called with what comes next: once for each
        entry (loading), then once for each of rounds x points x entries. With a reading, before that: once
        for the checkpoint and each of its windows, and for each window of each entry after it has loaded.
    """
    contest = Contest(list(entries), list(points), {}, {}, [])
    running: dict[str, Contestant] = {}
    try:
        if reading:
            # First and alone: it may hold more memory than all others.
            contest.checkpoint_perplexity = _read_checkpoint(contest, reading, report)
        for entry in entries:
            report(f"loading {entry.name}")
            with _dropping_out(contest, entry.name):
                running[entry.name] = Contestant(entry)
                contest.versions[entry.name] = running[entry.name].version
                if reading and contest.checkpoint_perplexity is not None and not entry.behind:
                    contest.perplexities[entry.name] = _read(running[entry.name], entry.name, reading, report)
                largest = max(points, key=lambda point: point.requests)
                warm_up = prompts(largest.requests, largest.prompt_tokens)
                running[entry.name].run(warm_up, WARM_UP_TOKENS)
        for number, point, turn in _schedule(rounds, points):
            batch = prompts(point.requests, point.prompt_tokens)
            for name in rotated([entry.name for entry in entries], turn):
                report(f"round {number + 1}: {name}")
                if name not in contest.failures:
                    with _dropping_out(contest, name):
                        seconds = running[name].run(batch, point.max_tokens)
                        contest.samples.append(Sample(name, point, number, seconds))
    except KeyboardInterrupt:
        contest.interrupted = True
    finally:
        for contestant in running.values():
            contestant.close()
    return contest


def _read_checkpoint(contest: Contest, reading: Reading, report: Callable[[str], None]) -> float | None:
    """The perplexity of the checkpoint; None when it could not be had, with its failure noted."""
    name = reading.checkpoint.name
    report(f"loading {name}")
    with _dropping_out(contest, name), closing(Contestant(reading.checkpoint)) as checkpoint:
        return _read(checkpoint, name, reading, report)
    return None


def _read(contestant: Contestant, name: str, reading: Reading, report: Callable[[str], None]) -> float:
    log_probs = []
    for window in contestant.foretell(reading.windows):
        report(f"{name} reads")
        log_probs.append(window)
    return perplexity(log_probs)


def _schedule(rounds: int, points: Sequence[Point]) -> Iterator[tuple[int, Point, int]]:
    """Round, point, and a number that goes up by one each time."""
    for number in range(rounds):
        for index, point in enumerate(points):
            yield number, point, number * len(points) + index


def rotated(names: list[str], turn: int) -> list[str]:
    """The names, from the one on whose turn it is to be first."""
    first = turn % len(names)
    return names[first:] + names[:first]


@contextmanager
def _dropping_out(contest: Contest, name: str) -> Iterator[None]:
    """A contestant that fails is out, with its reason; the others go on."""
    try:
        yield
    except ContestantFailed as error:
        contest.failures[name] = str(error)
