"""What tests ask a gateway for, and what they read of its replies."""

import json
import time
from collections.abc import Callable

import httpx


def asked(question: str, **fields: object) -> dict[str, object]:
    body: dict[str, object] = {"messages": [{"role": "user", "content": question}], "max_tokens": 60}
    return {"temperature": 0} | body | fields


def whole(reply: httpx.Response) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Texts with their finish reasons, and the usage."""
    assert reply.status_code == 200, reply.text
    body = reply.json()
    choices = [(each.get("message") or each, each["finish_reason"]) for each in body["choices"]]
    usage = {name: body["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return [(said.get("content", said.get("text")), reason) for said, reason in choices], usage


def streamed(reply: httpx.Response) -> tuple[list[str], str, int]:
    """The pieces of a stream with usage, why it ended, and completion_tokens."""
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    pieces = [choice["delta"].get("content") or "" for choice in choices]
    return pieces, choices[-1]["finish_reason"], chunks[-1]["usage"]["completion_tokens"]


def comes_true(claim: Callable[[], bool], within: float = 10) -> bool:
    """Whether it does while a busy machine gets round to it; what is to end by then has to last longer."""
    deadline = time.monotonic() + within
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
