"""Locust users in a closed loop: each sends a request, reads the answer to its end, and starts again.

Locust spawns and stops the users. Its own statistics round response times to two digits, so the raw samples
are kept here.
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
from bench.measurement import RequestSample
from bench.server import Server

AFTER_FAILURE_S = 1.0
PROGRESS_S = 0.1


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """The requests, the users and the duration of a load test.

    body: the request without its messages; `stream` is added. prompts: one for each request.
    expected_tokens: length of every answer when `ignore_eos` fixes it, else None.
    spawn_rate: users per second. duration_s: length of the window after the last user has spawned.
    timeout_s: silence after which a request fails. api_key: sent with every request, never reported.
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
class LoadResult:
    """The samples of a load test.

    window_s: the real length of the window; shorter than planned after Ctrl-C, 0 when it never opened.
    interrupted: Ctrl-C ended the test. generator_busy: this process used more than 90 % of a core.
    """

    samples: list[RequestSample]
    window_s: float
    interrupted: bool
    generator_busy: bool


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """The progress of a load test.

    elapsed_s: seconds since the window opened; None before, more than the duration after its close.
    requests: number of ended requests. users: number of running users.
    """

    elapsed_s: float | None
    requests: int
    users: int


class StreamingUser(User):
    """A user with at most one running request."""

    abstract = True
    wait_time = constant(0)
    settings: ClassVar[LoadSettings]
    closing: ClassVar[Event]

    def on_start(self) -> None:
        """Open a connection for this user."""
        self.server = Server(self.settings.url, self.settings.timeout_s, self.settings.api_key)

    @task
    def ask(self) -> None:
        """Send one request and report its sample to Locust's `request` event."""
        if self.closing.is_set():
            raise StopUser
        body = {**self.settings.body, "messages": [{"role": "user", "content": next(self.settings.prompts)}]}
        failure: RequestFailed | None = None
        started = time.perf_counter()
        try:
            with self.server.stream(body) as events:
                answer = read_answer(events, time.perf_counter)
            expected = self.settings.expected_tokens
            if expected is not None and answer.output_tokens != expected:
                raise RequestFailed("the server ignored ignore_eos (the answer has another length)")
            sample = RequestSample(
                started,
                tuple(chunk - started for chunk in answer.chunks),
                answer.ended - started,
                None if answer.first_word is None else answer.first_word - started,
                answer.prompt_tokens,
                answer.output_tokens,
            )
        except RequestFailed as error:
            failure = error
            sample = RequestSample(started, (), time.perf_counter() - started, failure=str(error))
        self.environment.events.request.fire(
            request_type="POST",
            name="/v1/chat/completions",
            response_time=sample.e2e_s * 1000,
            response_length=sample.output_tokens,
            exception=failure,
            context={"sample": sample},
        )
        if failure:
            # A server that refuses at once would get thousands of requests per second.
            self.closing.wait(AFTER_FAILURE_S)


def run_load(settings: LoadSettings, report: Callable[[LoadProgress], None]) -> LoadResult:
    """Run the load test and return every sample; `report` is called a few times a second.

    The window opens when the last user has spawned. At its close users send no more requests, and the running
    ones finish. Ctrl-C ends the test at once with the samples so far.
    """
    logging.getLogger("locust").setLevel(logging.ERROR)
    samples: list[RequestSample] = []
    opened: AsyncResult[float] = AsyncResult()
    closing, interrupted = Event(), Event()
    planned = type("PlannedUser", (StreamingUser,), {"settings": settings, "closing": closing})
    environment = Environment(user_classes=[planned], stop_timeout=0.0)
    environment.events.request.add_listener(lambda context, **_: samples.append(context["sample"]))
    environment.events.spawning_complete.add_listener(lambda **_: opened.set(time.perf_counter()))
    runner = environment.create_local_runner()
    on_ctrl_c = gevent.signal_handler(signal.SIGINT, interrupted.set)
    try:
        runner.start(settings.users, settings.spawn_rate)
        while not interrupted.wait(PROGRESS_S):
            elapsed = time.perf_counter() - opened.value if opened.ready() else None
            if elapsed is not None and elapsed >= settings.duration_s:
                closing.set()
            if closing.is_set() and not runner.user_count:
                break
            report(LoadProgress(elapsed, len(samples), runner.user_count))
        stopped_at = time.perf_counter()
    finally:
        on_ctrl_c.cancel()
        runner.quit()
    opened_at = opened.value if opened.ready() else stopped_at
    return LoadResult(
        [replace(sample, started_s=sample.started_s - opened_at) for sample in samples],
        min(stopped_at - opened_at, settings.duration_s),
        interrupted.is_set(),
        runner.cpu_warning_emitted,
    )
