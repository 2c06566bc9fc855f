"""Locust users in a closed loop: each asks, reads the streamed answer to its end, asks again.

Called by the command `run`. Locust spawns and stops the users and tells when the last one has started; its
own statistics round response times to two digits, so the raw samples are kept here instead.
"""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import gevent
from gevent.event import AsyncResult, Event
from locust import User, constant, task
from locust.env import Environment
from locust.exception import StopUser

from bench.answer import RequestFailed, read_answer
from bench.measurement import Sample
from bench.server import Server

AFTER_FAILURE_S = 1.0
PROGRESS_S = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the server, by how many, for how long.

    body: the request without its messages; `stream` is added. prompts: one for each request.
    expected_tokens: what every answer must have when `ignore_eos` fixes its length, else None.
    spawn_rate: users per second. duration_s: length of the window after the last one has spawned.
    api_key: sent with every request; in no report.
    """

    url: str
    body: dict[str, Any]
    prompts: Iterator[str]
    expected_tokens: int | None
    users: int
    spawn_rate: float
    duration_s: float
    timeout_s: float
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen.

    window_s: how long the window really was; shorter than asked for after Ctrl-C, 0 when it never opened.
    interrupted: Ctrl-C ended it. generator_busy: Locust saw this process take more than 90 % of a core.
    """

    samples: list[Sample]
    window_s: float
    interrupted: bool
    generator_busy: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    elapsed_s: since the window opened, None before; past the load's duration once the window has closed.
    requests: how many have ended. users: how many are still there.
    """

    elapsed_s: float | None
    requests: int
    users: int


class StreamingUser(User):
    """One user: at most one request under way."""

    abstract = True
    wait_time = constant(0)
    load: ClassVar[Load]
    closing: ClassVar[Event]

    def on_start(self) -> None:
        """Each user has a connection of its own."""
        self.server = Server(self.load.url, self.load.timeout_s, self.load.api_key)

    @task
    def ask(self) -> None:
        """Send one request and report its sample to Locust's `request` event."""
        if self.closing.is_set():
            raise StopUser
        body = {**self.load.body, "messages": [{"role": "user", "content": next(self.load.prompts)}]}
        failure: RequestFailed | None = None
        started = time.perf_counter()
        try:
            with self.server.stream(body) as events:
                answer = read_answer(events, time.perf_counter)
            expected = self.load.expected_tokens
            if expected is not None and answer.output_tokens != expected:
                raise RequestFailed("the server did not obey ignore_eos (another number of tokens came)")
            sample = Sample(
                started,
                tuple(chunk - started for chunk in answer.chunks),
                answer.ended - started,
                answer.prompt_tokens,
                answer.output_tokens,
            )
        except RequestFailed as error:
            failure = error
            sample = Sample(started, (), time.perf_counter() - started, failure=str(error))
        self.environment.events.request.fire(
            request_type="POST",
            name="/v1/chat/completions",
            response_time=sample.e2e_s * 1000,
            response_length=sample.output_tokens,
            exception=failure,
            context={"sample": sample},
        )
        if failure:
            # A server that refuses at once must not be asked thousands of times a second.
            self.closing.wait(AFTER_FAILURE_S)


def drive(load: Load, report: Callable[[Progress], None]) -> Run:
    """Run the load and return every sample; `report` is called a few times a second.

    The window opens when the last user has spawned. At its close no user asks again, and what is under way
    is let finish. Ctrl-C ends the run at once with what has been measured.
    """
    logging.getLogger("locust").setLevel(logging.ERROR)
    samples: list[Sample] = []
    opened: AsyncResult[float] = AsyncResult()
    closing, interrupted = Event(), Event()
    planned = type("PlannedUser", (StreamingUser,), {"load": load, "closing": closing})
    environment = Environment(user_classes=[planned], stop_timeout=0.0)
    environment.events.request.add_listener(lambda context, **_: samples.append(context["sample"]))
    environment.events.spawning_complete.add_listener(lambda **_: opened.set(time.perf_counter()))
    runner = environment.create_local_runner()
    on_ctrl_c = gevent.signal_handler(signal.SIGINT, interrupted.set)
    try:
        runner.start(load.users, load.spawn_rate)
        while not interrupted.wait(PROGRESS_S):
            elapsed = time.perf_counter() - opened.value if opened.ready() else None
            if elapsed is not None and elapsed >= load.duration_s:
                closing.set()
            if closing.is_set() and not runner.user_count:
                break
            report(Progress(elapsed, len(samples), runner.user_count))
        stopped_at = time.perf_counter()
    finally:
        on_ctrl_c.cancel()
        runner.quit()
    opened_at = opened.value if opened.ready() else stopped_at
    return Run(
        [replace(sample, started_s=sample.started_s - opened_at) for sample in samples],
        min(stopped_at - opened_at, load.duration_s),
        interrupted.is_set(),
        runner.cpu_warning_emitted,
    )
