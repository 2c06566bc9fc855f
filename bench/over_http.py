"""Our engine behind its servers: `python -m bench.over_http local|triton ENGINE`.

The servers are child processes; this process is the clients. It speaks the lines of `bench.peers.child`.
Prompts are sent as text to /v1/completions, streamed, all at once, one connection each. The seconds run from
the first connection to the end of the last answer. The clients share the machine with the servers, so they
only collect bytes while the time runs and parse them afterwards.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

from bench.contestant import ROOT

HOST = "127.0.0.1"
START_S = 120.0
READ_BYTES = 1 << 16


def main() -> None:
    """Start the servers, say so, and answer until the input ends."""
    kind, engine = sys.argv[1], Path(sys.argv[2]).resolve()
    tokenizer = Tokenizer.from_file(str(engine / "tokenizer.json"))
    port = free_port()
    server = _local(engine, port) if kind == "local" else _triton(engine, port)
    try:
        wait_until_ready(server, f"http://{HOST}:{port}/health/ready")
        print(json.dumps({"ready": f"over HTTP, {kind} backend"}), flush=True)
        for line in sys.stdin:
            batch = json.loads(line)
            texts = [tokenizer.decode(ids) for ids in batch["prompts"]]
            requests = [_request(engine.name, text, batch["max_tokens"]) for text in texts]
            started = time.perf_counter()
            responses = asyncio.run(_ask(port, requests))
            seconds = time.perf_counter() - started
            tokens = [_tokens(response) for response in responses]
            print(json.dumps({"tokens": tokens, "seconds": seconds}), flush=True)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def _local(engine: Path, port: int) -> "subprocess.Popen[bytes]":
    return _start(["slipway", "gateway", "--engine", str(engine), "--port", str(port)])


def _triton(engine: Path, port: int) -> "subprocess.Popen[bytes]":
    # A repository of its own: Triton loads every engine that it finds.
    repository = ROOT / ".cache" / "bench" / engine.name
    _start(["build", "repository", str(engine), "--repository", str(repository)]).wait()
    ports = [f"--triton-{service}-port={free_port()}" for service in ("http", "grpc", "metrics")]
    serve = ["slipway", "serve", f"--model-repository={repository}", f"--port={port}", *ports]
    return _start(serve, SLIPWAY_ENGINES=str(engine.parent))


def _start(module: Iterable[str], **environment: str) -> "subprocess.Popen[bytes]":
    """Run a room of this checkout; what it prints must not come between the answers."""
    return subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        # As in process: prompts of random words repeat themselves more than answers do.
        env={**os.environ, "SLIPWAY_SPECULATION": "0", **environment},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
    )


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until_ready(server: "subprocess.Popen[bytes]", url: str) -> None:
    """Return when `url` answers 200; the process ends with a sentence when the server does first."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode} while it started")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    sys.exit(f"{url} was not ready within {START_S:g} s")


def _request(model: str, prompt: str, max_tokens: int) -> bytes:
    asked = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps({**asked, **streamed}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def _ask(port: int, requests: Iterable[bytes]) -> list[bytes]:
    """The whole responses, as they came."""
    return await asyncio.gather(*(_response(port, request) for request in requests))


async def _response(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request)
    response = bytearray()
    while data := await reader.read(READ_BYTES):
        response += data
    writer.close()
    return bytes(response)


def _tokens(response: bytes) -> int:
    """How many tokens the usage at the end of a streamed answer counts."""
    lines = [line for line in response.splitlines() if line.startswith(b"data: {")]
    if not response.startswith(b"HTTP/1.1 200 ") or not lines:
        sys.exit(f"the gateway answers {response.decode(errors='replace').splitlines()[-1]}")
    usage = json.loads(lines[-1].removeprefix(b"data: ")).get("usage")
    if not usage:
        sys.exit(f"the answer ends with {lines[-1].decode(errors='replace')}")
    return int(usage["completion_tokens"])


if __name__ == "__main__":
    main()
