"""What clients of a server see while a fault is done to it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from slipway.contract.errors import ServerFailed

_POLL_S = 0.05
# A connection that is kept may be one to a server that has died since.
_UNKEPT = httpx.Limits(max_connections=None, max_keepalive_connections=0)
_PROMPT = "The capital of France is"
_ENDLESS: dict[str, Any] = {"prompt": "1, 2, 3, 4,", "temperature": 0, "max_tokens": 8000, "ignore_eos": True}
_SHORT: dict[str, Any] = {"prompt": _PROMPT, "temperature": 0, "max_tokens": 5}


@dataclass
class StreamEnd:
    """How a stream ended: its error's code, "done", or "cut", which a client notices too.

    at: when, by `time.monotonic`. text: what came.
    """

    how: str = ""
    at: float = 0.0
    text: str = ""


@dataclass(frozen=True)
class Seen:
    """Seconds from the fault: until the server was not ready, until all running streams had ended, until an
    answer came to a request sent after it, and until the server was ready again. None: never, in time.

    ends: how the running streams ended. wrong: answers that were complete and false.
    """

    unready_s: float | None
    streams_s: float | None
    answer_s: float | None
    ready_s: float | None
    ends: tuple[str, ...]
    wrong: int


@dataclass
class Clients:
    """Clients of the server at `url`."""

    url: str
    model: str
    # One for all: each would read the certificates of all authorities, which takes 30 ms of a core.
    _http: httpx.Client = field(
        default_factory=lambda: httpx.Client(trust_env=False, verify=False, limits=_UNKEPT)
    )

    def ready(self) -> bool:
        """Whether the server says that it is ready."""
        with suppress(httpx.TransportError):
            return self._http.get(f"{self.url}/health/ready", timeout=6).status_code == 200
        return False

    def ask(self, timeout_s: float = 60.0) -> str | None:
        """The answer to a short question; None if there is none."""
        with suppress(httpx.TransportError):
            body = {"model": self.model, **_SHORT}
            reply = self._http.post(f"{self.url}/v1/completions", json=body, timeout=timeout_s)
            if reply.status_code == 200:
                return str(reply.json()["choices"][0]["text"])
        return None

    def stream(self, end: StreamEnd, started: threading.Event, **changes: Any) -> None:
        """Read a long answer to its end."""
        body = {"model": self.model, "stream": True, **_ENDLESS, **changes}
        end.how = "cut"
        try:
            with self._http.stream("POST", f"{self.url}/v1/completions", json=body, timeout=120) as response:
                for event in _events(response):
                    if event == "[DONE]":
                        end.how = "done"
                    elif "error" in (content := json.loads(event)):
                        end.how = str(content["error"]["code"])
                    else:
                        end.text += content["choices"][0]["text"] if content["choices"] else ""
                    started.set()
        except httpx.TransportError:
            end.how = "cut"
        end.at = time.monotonic()
        started.set()

    def watch(self, fault: Callable[[], None], streams: int, patience_s: float) -> Seen:
        """Let `streams` long answers run, do the fault, and watch until answers flow again."""
        expected = self.ask()
        if expected is None:
            raise ServerFailed("The server did not answer before the fault.")
        ends = [StreamEnd() for _ in range(streams)]
        with ThreadPoolExecutor(streams + 2) as pool:
            for end in ends:
                started = threading.Event()
                pool.submit(self.stream, end, started)
                if not started.wait(60):
                    raise ServerFailed("A stream did not start before the fault.")
            began = time.monotonic()
            fault()
            deadline, answered = began + patience_s, threading.Event()
            readiness = pool.submit(self._watch_readiness, deadline, answered)
            asking = pool.submit(self._ask_until, deadline, answered)
            unready, ready = readiness.result()
            answer_at, answer = asking.result()
        return Seen(
            unready_s=_since(began, unready),
            streams_s=_since(began, max((end.at for end in ends), default=None)),
            answer_s=_since(began, answer_at),
            ready_s=_since(began, ready),
            ends=tuple(end.how for end in ends),
            wrong=int(answer is not None and answer != expected),
        )

    def _watch_readiness(
        self, deadline: float, answered: threading.Event
    ) -> tuple[float | None, float | None]:
        """When it was not ready, and when it was ready again after it."""
        unready: float | None = None
        while time.monotonic() < deadline:
            recovered = answered.is_set()
            if not self.ready():
                unready = unready or time.monotonic()
            elif unready is not None or recovered:
                return unready, time.monotonic()
            time.sleep(_POLL_S)
        return unready, None

    def _ask_until(self, deadline: float, answered: threading.Event) -> tuple[float | None, str | None]:
        """When an answer came to a request of now or later, and the answer."""
        answer = None
        while answer is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            answer = self.ask(deadline - time.monotonic())
        answered.set()
        return (None if answer is None else time.monotonic()), answer


def _since(began: float, at: float | None) -> float | None:
    return None if at is None else at - began


def _events(response: httpx.Response) -> Iterator[str]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")
