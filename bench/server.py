"""The server under test, over HTTP with gevent sockets that return every chunk as it comes.

Locust's own streaming (`FastHttpSession.iter_lines`) waits for full kilobytes, which would add to every TTFT.
geventhttpclient, a dependency of Locust, reads line by line with a quarter of httpx's CPU time per event.
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

from bench.answer import RequestFailed, Unreachable

CONNECT_TIMEOUT_S = 5.0
KEY_ADVICE = "Put a valid key into SLIPWAY_API_KEY (or OPENAI_API_KEY), or give --api-key."
HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}


class Server:
    """One connection to the server at `url` (with or without /v1), kept open between requests.

    timeout_s: silence after which a request fails. api_key: for a server that requires one.
    Raises RequestFailed when `url` is not an address, or `api_key` has characters that no key has.
    """

    def __init__(self, url: str, timeout_s: float, api_key: str | None = None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.timeout_s = timeout_s
        address = URL(self.url)
        if address.scheme not in ("http", "https"):
            raise RequestFailed(f"--url {url} is not an address like http://127.0.0.1:9000")
        self.path = address.path.rstrip("/")
        self.headers = {**HEADERS, **_authorization(api_key)}
        self.http = HTTPClient.from_url(
            address, concurrency=1, connection_timeout=CONNECT_TIMEOUT_S, network_timeout=timeout_s
        )

    def first_model(self) -> str:
        """The name of the server's first model.

        Raises RequestFailed, also without a server or without a model.
        """
        try:
            with self._response("GET", "/v1/models") as response:
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
        with self._response("POST", "/v1/chat/completions", body) as response:
            completion: dict[str, Any] = _parse(response.read())
            return completion

    @contextmanager
    def stream(self, body: Mapping[str, Any]) -> Iterator[Iterator[str]]:
        """One streamed chat completion: the data of each server-sent event, as soon as it arrives.

        Raises RequestFailed.
        """
        with self._response("POST", "/v1/chat/completions", {**body, "stream": True}) as response:
            lines = iter(lambda: response.readline(b"\n"), b"")
            yield (event.data for event in SSEClient(lines).events())

    @contextmanager
    def _response(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Iterator[HTTPSocketPoolResponse]:
        content = b"" if body is None else json.dumps(body).encode()
        try:
            with self.http.request(method, self.path + path, content, self.headers) as response:
                if response.status_code != 200:
                    advice = f" {KEY_ADVICE}" if response.status_code == HTTPStatus.UNAUTHORIZED else ""
                    reason = f"{_reason(response.read())}{advice}"
                    raise RequestFailed(f"HTTP {response.status_code}: {reason}")
                yield response
        except TimeoutError:
            raise Unreachable(f"no data for {self.timeout_s:g} s") from None
        except OSError as error:
            raise Unreachable(f"connection: {error.strerror or error}") from None
        except HTTPException as error:
            raise Unreachable(f"connection: {error}") from None


def _authorization(api_key: str | None) -> dict[str, str]:
    if not api_key:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        raise RequestFailed(f"The API key has characters that no key has. {KEY_ADVICE}")
    return {"Authorization": f"Bearer {api_key}"}


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
