"""llama.cpp's own server on a GGUF file, asked over HTTP on this machine: one connection per request."""

import atexit
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.peers import child

START_S = 60.0
# More than any logit differs from another.
CERTAIN = 1e4
# A version that lacks one of these does without. Prompts of finished requests are not kept: every one is new.
SETTINGS = {"LLAMA_ARG_CACHE_RAM": "0"}


def load(threads: int, gguf: str, binary: str, slots: str, length: str) -> child.Peer:
    """Start `binary` with room for `slots` sequences of `length` tokens; it ends with this process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, "--model", gguf, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--threads", str(threads), "--threads-batch", str(threads)]
    command += ["--parallel", slots, "--ctx-size", str(int(slots) * int(length))]
    environment = {**os.environ, **SETTINGS}
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment)
    atexit.register(server.kill)  # also when the command that measures was killed, which ends our input
    url = f"http://127.0.0.1:{port}"
    _wait_until_ready(server, url)

    def generate(prompts: list[list[int]], max_tokens: int) -> list[int]:
        def ask(prompt: list[int]) -> int:
            body = {"prompt": prompt, "n_predict": max_tokens, "ignore_eos": True, "temperature": 0}
            # Every prompt is new; without this the server still looks for one that is alike.
            return int(_post(f"{url}/completion", {**body, "cache_prompt": False})["tokens_predicted"])

        with ThreadPoolExecutor(len(prompts)) as clients:
            return list(clients.map(ask, prompts))

    def foretell(windows: list[list[int]]) -> Iterator[list[float]]:
        def read(number: int) -> list[float]:
            window, slot = windows[number], number % int(slots)
            return [_foretell(url, window[:end], window[end], slot) for end in range(1, len(window))]

        with ThreadPoolExecutor(int(slots)) as clients:
            yield from clients.map(read, range(len(windows)))

    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    return child.Peer(
        f"llama.cpp {(version.stdout + version.stderr).partition('version: ')[2].split()[0]}",
        generate,
        foretell,
    )


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"{server.args[0]} ended with {server.returncode} while loading")  # type: ignore[index]
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    sys.exit(f"{url}/health was not ready within {START_S:g} s")


def _foretell(url: str, before: list[int], token: int, slot: int) -> float:
    """The log-probability of `token`. A bias makes it the answer; what is reported is without the bias.

    The slot keeps what it has read, which is all but the last of `before` when asked token by token.
    """
    body = {
        "prompt": before,
        "n_predict": 1,
        "temperature": 0,
        "logit_bias": [[token, CERTAIN]],
        "n_probs": 1,
    }
    answer = _post(f"{url}/completion", {**body, "id_slot": slot, "cache_prompt": True})
    if "completion_probabilities" not in answer:
        sys.exit(f"it says nothing of token {token}, which is a part of a character: give an ASCII --text")
    (chosen,) = answer["completion_probabilities"]
    if chosen["id"] != token:
        sys.exit(f"{url} answers with token {chosen['id']} in spite of a bias of {CERTAIN:g} for {token}")
    return float(chosen["logprob"])


def _post(url: str, body: dict[str, object]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


if __name__ == "__main__":
    child.run(load)
