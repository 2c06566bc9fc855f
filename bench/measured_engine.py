"""An engine under measurement: a child process that runs batches and reports how long they took.

`bench.peers.child` describes the lines that both processes exchange. The process of our own engine is
`slipway measure`; it accepts more and reports more.
"""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent
_MAX_ROUNDING = 1e-3


class MeasurementFailed(Exception):
    """An engine cannot be measured any further; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine to measure.

    command: of its process. ours: whether it is our engine, not a peer.
    max_loss: share of perplexity that it may lose, compared with the checkpoint, for its speed to count.
    baseline: the name of the same engine in process, where this one runs behind its servers.
    """

    name: str
    command: tuple[str, ...]
    ours: bool
    max_loss: float = inf
    baseline: str | None = None


@dataclass(frozen=True, slots=True)
class TokenTimes:
    """When the tokens of a batch came, in seconds from its start.

    answers: for each answer, the time of each token.
    arrivals: for each prompt that arrived later, when it was submitted and when its token came.
    """

    answers: list[list[float]]
    arrivals: list[tuple[float, float]]


class MeasuredEngine:
    """The process of an engine, loaded and ready for batches."""

    def __init__(self, spec: EngineSpec) -> None:
        """Start the process and wait until it has loaded the model.

        Raises MeasurementFailed when the process ends first.
        """
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        # The session of its own keeps Ctrl-C away from it, and lets `close` end all that it started.
        self._process = subprocess.Popen(
            spec.command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout
        self._stdout = self._process.stdout
        try:
            self.version = str(_field(self._read_line(), "ready"))
        except BaseException:
            self.close()
            raise

    def run(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> float:
        """Seconds for all prompts at once, from the token ids to the last token of the last answer.

        Raises MeasurementFailed when the process ends, or an answer has another length than `max_tokens`.
        """
        self._write_line({"prompts": [list(prompt) for prompt in prompts], "max_tokens": max_tokens})
        return seconds_of(self._read_line(), len(prompts), max_tokens)

    def time_tokens(self, batch: dict[str, Any]) -> TokenTimes:
        """When each token of a batch came. Only for our own engine; `slipway measure` describes the batch.

        Raises MeasurementFailed when the process ends.
        """
        self._write_line(batch)
        line = self._read_line()
        arrivals = [(submitted, answered) for submitted, answered in _field(line, "arrived")]
        return TokenTimes(_field(line, "times"), arrivals)

    def score(self, windows: Sequence[Sequence[int]]) -> Iterator[list[float]]:
        """For each window of token ids, the log-probability of each token but the first.

        Raises MeasurementFailed when the process ends, or an answer is not a log-probability per token.
        """
        self._write_line({"windows": [list(window) for window in windows]})
        for window in windows:
            yield log_probs_of(self._read_line(), len(window) - 1)

    def close(self) -> None:
        """End the process and all that it started."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def _write_line(self, request: dict[str, Any]) -> None:
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise MeasurementFailed(self._reason()) from None

    def _read_line(self) -> str:
        line = self._stdout.readline()
        if not line:
            raise MeasurementFailed(self._reason())
        return line

    def _reason(self) -> str:
        """Why the process ended: the last line of its standard error."""
        self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        written = [line.strip() for line in lines if line.strip()]
        return written[-1] if written else f"its process ended with status {self._process.returncode}"


def seconds_of(line: str, prompts: int, max_tokens: int) -> float:
    """The seconds in an answer line.

    Raises MeasurementFailed unless each of the `prompts` answers has exactly `max_tokens` tokens.
    """
    tokens = _field(line, "tokens")
    if tokens != [max_tokens] * prompts:
        raise MeasurementFailed(f"it made {tokens} tokens instead of {max_tokens} for each of {prompts}")
    return float(_field(line, "seconds"))


def log_probs_of(line: str, tokens: int) -> list[float]:
    """The log-probabilities in an answer line.

    Raises MeasurementFailed unless there are `tokens` of them, finite and, but for rounding, not above 0.
    """
    log_probs = [float(value) for value in _field(line, "log_probs")]
    if len(log_probs) != tokens:
        raise MeasurementFailed(f"it scored {len(log_probs)} tokens instead of {tokens}")
    if wrong := [value for value in log_probs if not (isfinite(value) and value < _MAX_ROUNDING)]:
        raise MeasurementFailed(f"it gave a token the log-probability {wrong[0]}")
    return log_probs


def _field(line: str, name: str) -> Any:
    try:
        return json.loads(line)[name]
    except (ValueError, KeyError, TypeError):
        raise MeasurementFailed(f"its line {line[:60]!r} is not JSON with the field {name!r}") from None
