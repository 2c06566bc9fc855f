"""Timed batches and scored texts, one JSON object per line: the protocol of `slipway measure`.

out, once:       {"ready": "name and version"}
in, per batch:   {"prompts": [[token id, ...], ...], "max_tokens": n,
                  "ignore_eos": true, "arrivals": [[token id, ...], ...], "arrive_after": n}
out, per batch:  {"tokens": [number of output tokens of each prompt], "seconds": s, "session_s": s,
                  "answers": [[token id, ...], ...], "times": [[s, ...], ...], "arrived": [[s, s], ...],
                  "draft_tokens": n, "accepted_tokens": n}
in, per text:    {"windows": [[token id, ...], ...]}
out, per window: {"log_probs": [natural logarithm of the probability of each token but the first]}

seconds: from the submission of the prompts to the last token of the last answer. session_s: the part of them
spent inside the engine's library. times: of each token of each answer, in seconds from the start; tokens of
one pass have one time. Answers are greedy and go past end-of-sequence, unless ignore_eos is false.

arrivals: prompts that arrive during the answers, one after another, with one output token each. The first
arrives when each of `prompts` has arrive_after tokens, the next when the one before has its token, and none
after an answer has ended. arrived: for each that arrived, the times of its submission and of its token.
"""

import json
import queue
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from slipway.contract.errors import InvalidRequest, SlipwayError
from slipway.contract.generation import SamplingParams
from slipway.runtime.engine import Engine
from slipway.runtime.sequence import Event
from slipway.text.perplexity import Score


@dataclass(slots=True)
class _Answer:
    """One request's tokens and their times, by the clock."""

    submitted: float
    token_ids: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    ended: bool = False
    error: SlipwayError | None = None

    def add(self, event: Event) -> None:
        """Record an event and its time; runs in the engine's thread."""
        if isinstance(event, SlipwayError):
            self.error = event
        else:
            self.token_ids += event.token_ids
            self.times += [time.perf_counter()] * event.token_count
            self.ended = event.finish_reason is not None


def replies(
    engine: Engine, lines: Iterable[str], score: Callable[[list[list[int]]], Iterator[Score]]
) -> Iterator[str]:
    """The reply lines to `lines`, each as soon as it is known.

    score: scores the windows of a text, in order.
    Raises InvalidRequest for a line that is not JSON, or the SlipwayError with which a request was refused or
    ended.
    """
    manifest = engine.manifest
    yield json.dumps({"ready": f"slipway {manifest.versions['slipway']}, {manifest.quantization}"})
    for line in lines:
        try:
            batch = json.loads(line)
        except ValueError:
            raise InvalidRequest(
                f"{line[:60]!r} is not a JSON object; `slipway measure --help` describes the lines."
            ) from None
        if "windows" in batch:
            for each in score(batch["windows"]):
                yield json.dumps({"log_probs": each.log_probs.tolist()})
        else:
            yield json.dumps(_timed(engine, batch))


def _timed(engine: Engine, batch: dict[str, Any]) -> dict[str, object]:
    session_s, stats, started = engine.session_s, engine.stats, time.perf_counter()
    answers, arrived = _run(engine, batch)
    seconds, session_s = time.perf_counter() - started, engine.session_s - session_s
    return {
        "tokens": [len(answer.token_ids) for answer in answers],
        "seconds": seconds,
        "session_s": session_s,
        "answers": [answer.token_ids for answer in answers],
        "times": [[at - started for at in answer.times] for answer in answers],
        "arrived": [[answer.submitted - started, answer.times[0] - started] for answer in arrived],
        "draft_tokens": engine.stats.draft_tokens - stats.draft_tokens,
        "accepted_tokens": engine.stats.accepted_tokens - stats.accepted_tokens,
    }


def _run(engine: Engine, batch: dict[str, Any]) -> tuple[list[_Answer], list[_Answer]]:
    """The answers to the prompts, submitted at once, and to the arrivals."""
    changed: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
    prompts, arrivals = batch["prompts"], batch.get("arrivals", [])
    sampling = SamplingParams(
        max_tokens=batch["max_tokens"], temperature=0.0, ignore_eos=batch.get("ignore_eos", True)
    )
    one_token = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True)
    answers: list[_Answer] = []

    def submit(prompt: list[int], sampling: SamplingParams) -> None:
        answer = _Answer(time.perf_counter())
        answers.append(answer)

        def on_event(event: Event) -> None:
            answer.add(event)
            # A thread that wakes up takes a core from the next pass, so this one sleeps while it can.
            if arrivals or answer.ended or answer.error:
                changed.put(answer)

        engine.submit(str(len(answers)), prompt, sampling, on_event)

    for prompt in prompts:
        submit(prompt, sampling)
    streams = answers[:]
    while not all(answer.ended for answer in answers):
        answer = changed.get()
        if answer.error:
            raise answer.error
        came = len(answers) - len(streams)
        if (
            came < len(arrivals)
            and (came == 0 or answers[-1].ended)
            and all(len(stream.token_ids) >= batch["arrive_after"] for stream in streams)
            and not any(stream.ended for stream in streams)
        ):
            submit(arrivals[came], one_token)
    return streams, answers[len(streams) :]
