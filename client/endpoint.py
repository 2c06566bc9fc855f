"""A model on an OpenAI-compatible server: streamed answers over HTTP."""

import ipaddress
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from sseclient import SSEClient

CONNECT_TIMEOUT_S = 5.0
KEY_ADVICE = "Put a valid key into SLIPWAY_API_KEY (or OPENAI_API_KEY), or give --api-key."


class ServerError(Exception):
    """The server did not answer; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class AnswerChunk:
    """One piece of a streamed answer.

    text: new text of the answer, may be empty. thought: likewise, of what a reasoning model thinks.
    finish_reason: set in the last piece with text or after it.
    output_tokens: the server's count, in the last piece of the stream.
    """

    text: str = ""
    thought: str = ""
    finish_reason: str | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model on the server at `url` (without /v1).

    api_key: for a server that requires one; never shown.
    sampling: temperature, max_tokens, seed, stop. The server chooses the ones that are not set.
    """

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(
        cls, url: str, api_key: str | None, model: str | None, sampling: Mapping[str, Any]
    ) -> "Endpoint":
        """The model on the server at `url`; the first model if `model` is None.

        Raises ServerError when no server answers, the key is not valid, or there is no model.
        """
        url = url.rstrip("/").removesuffix("/v1")
        if model is None:
            with _connected(url, api_key) as http:
                response = http.get("/v1/models")
                _check(response)
            served = _parse(response.text)
            if not served["data"]:
                raise ServerError(
                    f"{url} serves no model: build one with `make engine`, or name one with --model."
                )
            model = served["data"][0]["id"]
        return cls(url, model, api_key, sampling)

    def stream(self, messages: Sequence[Mapping[str, str]]) -> Generator[AnswerChunk, None, None]:
        """Request the next answer of the conversation and yield its pieces.

        Closing the generator closes the connection, which ends the generation on the server.
        Raises ServerError when the server refuses, fails or goes away.
        """
        body = {
            "model": self.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.sampling,
        }
        with (
            _connected(self.url, self.api_key) as http,
            http.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            _check(response)
            for event in SSEClient(response.iter_bytes()).events():
                if event.data == "[DONE]":
                    return
                yield _chunk(_parse(event.data))
        raise ServerError(
            f"{self.url} closed the connection before the answer was complete: see the server's log."
        )


@contextmanager
def _connected(url: str, api_key: str | None) -> Iterator[httpx.Client]:
    """An HTTP client for `url`. Errors of the connection become ServerError."""
    headers = _authorization(api_key) if api_key else None
    timeout = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)
    try:
        # The proxy in the environment is for other machines.
        use_proxy = not _on_this_machine(httpx.URL(url).host)
        with httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=use_proxy) as http:
            yield http
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise ServerError(f"--url {url} is not an address like http://127.0.0.1:9000.") from None
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise ServerError(
            f"No server answers at {url}: start one with `make serve`, or name another with --url."
        ) from None
    except httpx.TransportError:
        raise ServerError(
            f"{url} closed the connection before the answer was complete: see the server's log."
        ) from None


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    response.read()
    try:
        reason = json.loads(response.text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        reason = "not an OpenAI-compatible answer; is --url right?"
    if response.status_code == httpx.codes.UNAUTHORIZED:
        reason += f" {KEY_ADVICE}"
    raise ServerError(f"The server answers {response.status_code}: {reason}")


def _authorization(api_key: str) -> dict[str, str]:
    if not (api_key.isascii() and api_key.isprintable()):
        raise ServerError(f"The API key has characters that no key has. {KEY_ADVICE}")
    return {"Authorization": f"Bearer {api_key}"}


def _parse(content: str) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise ServerError(f"The server sent {content[:60]!r} instead of JSON: is --url right?") from None


def _chunk(event: Mapping[str, Any]) -> AnswerChunk:
    if "error" in event:
        raise ServerError(f"The server stopped the answer: {event['error']['message']}")
    usage = event.get("usage")
    tokens = usage["completion_tokens"] if usage else None
    if not event["choices"]:
        return AnswerChunk(output_tokens=tokens)
    choice = event["choices"][0]
    delta = choice["delta"]
    # Servers name thoughts in one of two ways; some send both.
    thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
    return AnswerChunk(delta.get("content") or "", thought, choice.get("finish_reason"), tokens)
