"""What the check asks the server: one answer, and a stream that is read in a thread."""

import json
import threading

import httpx
from support.waiting import wait_until

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a long story about the sea."}]
_TIMEOUT_S = 300


def answer(url: str, model: str) -> tuple[str, str]:
    """The text of an answer and why it ended. Raises httpx.HTTPError."""
    body = {"model": model, "messages": QUESTION, "temperature": 0, "max_tokens": 50}
    reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=_TIMEOUT_S, trust_env=False)
    reply.raise_for_status()
    [choice] = reply.json()["choices"]
    return choice["message"]["content"], choice["finish_reason"]


class Stream:
    """A long answer that is streamed until its last event, an error event, or a broken connection."""

    def __init__(self, url: str, model: str, max_tokens: int) -> None:
        self.pieces = 0
        self.finish_reason: str | None = None
        self.error: str | None = None
        self.complete = False
        self._url = f"{url}/v1/chat/completions"
        self._body = {
            "model": model,
            "messages": STORY,
            "temperature": 0,
            "max_tokens": max_tokens,
            "ignore_eos": True,
            "stream": True,
        }
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_until(lambda: self.pieces > 0 or not self._thread.is_alive())

    def join(self) -> "Stream":
        """Wait for the end."""
        self._thread.join(_TIMEOUT_S)
        return self

    def __str__(self) -> str:
        end = "[DONE]" if self.complete else "no [DONE]"
        reason = f"error {self.error}" if self.error else self.finish_reason
        return f"{self.pieces} pieces, {reason}, {end}"

    def _read(self) -> None:
        try:
            with httpx.stream(
                "POST", self._url, json=self._body, timeout=_TIMEOUT_S, trust_env=False
            ) as reply:
                for line in reply.iter_lines():
                    self._take(line.removeprefix("data: "))
        except httpx.HTTPError as error:
            self.error = type(error).__name__

    def _take(self, data: str) -> None:
        if data == "[DONE]":
            self.complete = True
        elif data.startswith("{"):
            event = json.loads(data)
            if "error" in event:
                self.error = event["error"]["code"]
                return
            for choice in event["choices"]:
                self.pieces += bool(choice["delta"].get("content"))
                self.finish_reason = choice["finish_reason"] or self.finish_reason


def status(url: str) -> int | None:
    """The status of a GET; None without an answer."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code
    except httpx.HTTPError:
        return None
