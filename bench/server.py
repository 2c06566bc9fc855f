"""The server under test over HTTP, with gevent sockets that hand over every chunk as it comes.

Locust's own streaming (`FastHttpSession.iter_lines`) waits for full kilobytes, which would add to every
TTFT; geventhttpclient, which Locust brings, also reads line by line, at a quarter of httpx's CPU time per
event. Called by `bench.users` and by the command before the load starts.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from geventhttpclient import URL, HTTPClient
from geventhttpclient.response import HTTPSocketPoolResponse
from sseclient import SSEClient

from bench import api_key as key
from bench.answer import RequestFailed, Unreachable

CONNECT_TIMEOUT_S = 5.0
HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}


class Server:
    """One connection at a time to the server at `url` (with or without /v1), kept open between requests.

    timeout_s: longest silence before a request counts as failed. api_key: where the server asks for one.
    Raises RequestFailed when `url` is not an address, or `api_key` cannot be a key.
    """

    def __init__(self, url: str, timeout_s: float, api_key: str | None = None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.timeout_s = timeout_s
        address = URL(self.url)
        if address.scheme not in ("http", "https"):
            raise RequestFailed(f"--url {url} is not an address like http://127.0.0.1:9000")
        self.path = address.path.rstrip("/")
        self.headers = {**HEADERS, **key.header(api_key)}
        self.http = HTTPClient.from_url(
            address, concurrency=1, connection_timeout=CONNECT_TIMEOUT_S, network_timeout=timeout_s
        )

    def first_model(self) -> str:
        """The name of the first model that it serves.

        Raises RequestFailed, also when there is no server or no model.
        """
        try:
            with self._answered("GET", "/v1/models") as response:
                served = _parse(response.read())["data"]
        except Unreachable as error:
            raise RequestFailed(
                f"No server answers at {self.url} ({error}): start one with `make serve`, "
                "or name another with --url"
            ) from None
        if not served:
            raise RequestFailed(f"{self.url} serves no model: build one with `make engine`")
        return str(served[0]["id"])

    def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """One chat completion, not streamed.

        Raises RequestFailed.
        """
        with self._answered("POST", "/v1/chat/completions", body) as response:
            completion: dict[str, Any] = _parse(response.read())
            return completion

    @contextmanager
    def stream(self, body: Mapping[str, Any]) -> Iterator[Iterator[str]]:
        """One streamed chat completion: the data of its server-sent events, each as soon as it is there.

        Raises RequestFailed.
        """
        with self._answered("POST", "/v1/chat/completions", {**body, "stream": True}) as response:
            lines = iter(lambda: response.readline(b"\n"), b"")
            yield (event.data for event in SSEClient(lines).events())

    @contextmanager
    def _answered(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Iterator[HTTPSocketPoolResponse]:
        content = b"" if body is None else json.dumps(body).encode()
        try:
            with self.http.request(method, self.path + path, content, self.headers) as response:
                if response.status_code != 200:
                    advice = f" {key.ADVICE}" if response.status_code == HTTPStatus.UNAUTHORIZED else ""
                    reason = f"{_reason(response.read())}{advice}"
                    raise RequestFailed(f"HTTP {response.status_code}: {reason}")
                yield response
        except TimeoutError:
            raise Unreachable(f"silence for {self.timeout_s:g} s") from None
        except OSError as error:
            raise Unreachable(f"connection: {error.strerror or error}") from None
        except HTTPException as error:
            raise Unreachable(f"connection: {error}") from None


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise RequestFailed(f"the answer is not JSON ({content[:40]!r})") from None


def _reason(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "not an OpenAI-compatible answer"
