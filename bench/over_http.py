"""Our engine behind its servers: `python -m bench.over_http local|triton ENGINE THREADS`.

The servers are child processes; this process is the clients. It exchanges the lines of `bench.peers.child`.
Prompts are sent as text to /v1/completions, streamed, all at once, one connection each. The seconds run from
the first connection to the end of the last answer. Clients and servers share the machine, so the clients only
collect bytes while the time runs and parse them afterwards. THREADS are those of the local backend; Triton's
engine stage uses the physical cores.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

from bench.measured_engine import ROOT
from bench.peers.local_server import HOST, free_port, wait_until_ready

START_S = 120.0
READ_BYTES = 1 << 16


def main() -> None:
    """Start the servers, report that they are ready, and run batches until the input ends."""
    backend, engine, threads = sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3]
    tokenizer = Tokenizer.from_file(str(engine / "tokenizer.json"))
    port = free_port()
    server = _local(engine, port, threads) if backend == "local" else _triton(engine, port)
    try:
        wait_until_ready(server, f"http://{HOST}:{port}/health/ready", START_S)
        print(json.dumps({"ready": f"over HTTP, {backend} backend"}), flush=True)
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


def _local(engine: Path, port: int, threads: str) -> "subprocess.Popen[bytes]":
    options = ["--engine", str(engine), "--port", str(port), "--threads", threads]
    return _start(["slipway", "gateway", *options])


def _triton(engine: Path, port: int) -> "subprocess.Popen[bytes]":
    # Triton loads every engine of its repository, so it gets a repository with this one.
    repository = ROOT / ".cache" / "bench" / engine.name
    _start(["build", "repository", str(engine), "--repository", str(repository)]).wait()
    ports = [f"--triton-{service}-port={free_port()}" for service in ("http", "grpc", "metrics")]
    serve = ["slipway", "serve", f"--model-repository={repository}", f"--port={port}", *ports]
    return _start(serve, SLIPWAY_ENGINES=str(engine.parent))


def _start(module: Iterable[str], **environment: str) -> "subprocess.Popen[bytes]":
    """Run a module of this checkout, with its output on standard error: standard output is for answers."""
    return subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        # As in process: random words repeat themselves more than real answers do.
        env={**os.environ, "SLIPWAY_SPECULATION": "0", **environment},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
    )


def _request(model: str, prompt: str, max_tokens: int) -> bytes:
    sampling = {
        "model": model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    body = json.dumps({**sampling, **streamed}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


async def _ask(port: int, requests: Iterable[bytes]) -> list[bytes]:
    """The raw responses."""
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
    """The number of tokens in the usage at the end of a streamed answer."""
    lines = [line for line in response.splitlines() if line.startswith(b"data: {")]
    if not response.startswith(b"HTTP/1.1 200 ") or not lines:
        sys.exit(f"the gateway answers {response.decode(errors='replace').splitlines()[-1]}")
    usage = json.loads(lines[-1].removeprefix(b"data: ")).get("usage")
    if not usage:
        sys.exit(f"the answer ends with {lines[-1].decode(errors='replace')}")
    return int(usage["completion_tokens"])


if __name__ == "__main__":
    main()
