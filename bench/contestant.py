"""One engine under measurement: a child process that runs batches and says how long they took.

The lines are described in
`bench.peers.child`; our own engine speaks the same and tells more (`slipway measure`).
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
ROUNDING = 1e-3


class ContestantFailed(Exception):
    """A contestant cannot go on; the message says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What takes part: a name, the command of its process, and whether it is ours or a peer.

    may_lose: share of perplexity it may lose to the checkpoint for its speed to count.
    behind: the name of the entry in process, where this is the same engine behind its servers.
    """

    name: str
    command: tuple[str, ...]
    ours: bool
    may_lose: float = inf
    behind: str | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What our engine made of a batch, told in full (`runtime/measure.py`).

    times: of each answer, when each of its tokens came, in seconds from the start.
    arrived: of each prompt that came meanwhile when it was submitted and when it had its token.
    """

    times: list[list[float]]
    arrived: list[tuple[float, float]]


class Contestant:
    """The process of an entry, loaded and waiting for batches."""

    def __init__(self, entry: Entry) -> None:
        """Start it and wait until it has loaded.

        Raises ContestantFailed when it ends before.
        """
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        # In a session of its own: Ctrl-C reaches this command alone, and `close` everything it started.
        self._process = subprocess.Popen(
            entry.command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            start_new_session=True,
        )
        try:
            self.version = str(_field(self._answer(), "ready"))
        except BaseException:
            self.close()
            raise

    def run(self, prompts: Sequence[Sequence[int]], max_tokens: int) -> float:
        """Seconds of all prompts at once, from the token ids to the last token of the last answer.

        Raises ContestantFailed when the process ends, or an answer does not have exactly `max_tokens` tokens.
        """
        line = self._asked({"prompts": [list(prompt) for prompt in prompts], "max_tokens": max_tokens})
        return seconds_of(line, len(prompts), max_tokens)

    def ask(self, batch: dict[str, Any]) -> Answers:
        """Have our own engine run a batch, as `runtime/measure.py` describes it.

        Raises ContestantFailed when the process ends.
        """
        line = self._asked(batch)
        return Answers(
            _field(line, "times"),
            [(submitted, came) for submitted, came in _field(line, "arrived")],
        )

    def foretell(self, windows: Sequence[Sequence[int]]) -> Iterator[list[float]]:
        """The log-probability of each token but the first of each window, a window at a time.

        Raises ContestantFailed when the process ends, or an answer is not a log-probability for each token.
        """
        self._ask({"windows": [list(window) for window in windows]})
        for window in windows:
            yield log_probs_of(self._answer(), len(window) - 1)

    def close(self) -> None:
        """End the process and what it started, whatever it is doing."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.communicate()
        self._stderr.close()

    def _asked(self, what: dict[str, Any]) -> str:
        self._ask(what)
        return self._answer()

    def _ask(self, what: dict[str, Any]) -> None:
        try:
            print(json.dumps(what), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise ContestantFailed(self._last_words()) from None

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise ContestantFailed(self._last_words())
        return line

    def _last_words(self) -> str:
        self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else f"its process ended with {self._process.returncode}"


def seconds_of(line: str, prompts: int, max_tokens: int) -> float:
    """The seconds in an answer line.

    Raises ContestantFailed unless every one of the `prompts` answers has exactly `max_tokens` tokens.
    """
    tokens = _field(line, "tokens")
    if tokens != [max_tokens] * prompts:
        raise ContestantFailed(f"it made {tokens} tokens instead of {max_tokens} for each of {prompts}")
    return float(_field(line, "seconds"))


def log_probs_of(line: str, tokens: int) -> list[float]:
    """The log-probabilities in an answer line.

    Raises ContestantFailed unless there is one for each of `tokens` tokens: a number not above 0, but for
    rounding.
    """
    log_probs = [float(value) for value in _field(line, "log_probs")]
    if len(log_probs) != tokens:
        raise ContestantFailed(f"it foretold {len(log_probs)} tokens instead of {tokens}")
    if wrong := [value for value in log_probs if not (isfinite(value) and value < ROUNDING)]:
        raise ContestantFailed(f"it gave a token the log-probability {wrong[0]}")
    return log_probs


def _field(line: str, name: str) -> Any:
    try:
        return json.loads(line)[name]
    except (ValueError, KeyError, TypeError):
        raise ContestantFailed(f"its line {line[:60]!r} is not JSON with {name!r} in it") from None
