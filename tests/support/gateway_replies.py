"""Requests to a gateway, and what its replies contain."""

import json

import httpx


def asked(question: str, **fields: object) -> dict[str, object]:
    """The body of a greedy chat request."""
    body: dict[str, object] = {"messages": [{"role": "user", "content": question}], "max_tokens": 60}
    return {"temperature": 0} | body | fields


def whole(reply: httpx.Response) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """The texts with their finish reasons, and the usage."""
    assert reply.status_code == 200, reply.text
    body = reply.json()
    choices = [(each.get("message") or each, each["finish_reason"]) for each in body["choices"]]
    usage = {name: body["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return [(said.get("content", said.get("text")), reason) for said, reason in choices], usage


def streamed(reply: httpx.Response) -> tuple[list[str], str, int]:
    """The pieces of a stream, its finish reason, and completion_tokens."""
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    chunks = [json.loads(line) for line in lines[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    pieces = [choice["delta"].get("content") or "" for choice in choices]
    return pieces, choices[-1]["finish_reason"], chunks[-1]["usage"]["completion_tokens"]
