"""A server that sends what a test says, for behaviour that a real gateway never shows."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Answers a chat request: the status, and the pieces of the body, which are sent one by one.
Script = Callable[[dict[str, Any]], tuple[int, Iterator[str]]]


@contextmanager
def scripted(chat: Script) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the address and the chat requests received so far; /v1/models lists one model, `scripted`."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, iter([json.dumps({"data": [{"id": "scripted"}]})]))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            received.append(body)
            self.reply(*chat(body))

        def reply(self, status: int, pieces: Iterator[str]) -> None:
            self.send_response(status)
            self.end_headers()
            try:
                for piece in pieces:
                    self.wfile.write(piece.encode())
            except (BrokenPipeError, ConnectionResetError):
                received.append({"left": True})

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        server.server_close()


def content(text: str) -> str:
    return _delta(content=text)


def thought(text: str, field: str = "reasoning_content") -> str:
    return _delta(**{field: text})


def finish(reason: str = "length") -> str:
    return _event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})


def usage(prompt: int, completion: int) -> str:
    return _event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})


def _delta(**fields: str) -> str:
    return _event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


DONE = "data: [DONE]\n\n"


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
