"""llama.cpp's server with a GGUF file, over HTTP on this machine: one connection per request."""

import atexit
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.peers import child
from bench.peers.local_server import HOST, free_port, wait_until_ready

START_S = 60.0
# A bias larger than any difference between two logits.
LARGE_BIAS = 1e4
# Keep no prompts of finished requests: every prompt is new. Versions without the variable ignore it.
SETTINGS = {"LLAMA_ARG_CACHE_RAM": "0"}


def load(threads: int, gguf: str, binary: str, slots: str, length: str) -> child.Peer:
    """Start `binary` with room for `slots` sequences of `length` tokens; it ends with this process."""
    port = free_port()
    command = [binary, "--model", gguf, "--host", HOST, "--port", str(port)]
    command += ["--threads", str(threads), "--threads-batch", str(threads)]
    command += ["--parallel", slots, "--ctx-size", str(int(slots) * int(length))]
    environment = {**os.environ, **SETTINGS}
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment)
    atexit.register(server.kill)
    url = f"http://{HOST}:{port}"
    wait_until_ready(server, f"{url}/health", START_S)

    def generate(prompts: list[list[int]], max_tokens: int) -> list[int]:
        def complete(prompt: list[int]) -> int:
            body = {"prompt": prompt, "n_predict": max_tokens, "ignore_eos": True, "temperature": 0}
            # Every prompt is new: the server needs to look for no similar one.
            return int(_post(f"{url}/completion", {**body, "cache_prompt": False})["tokens_predicted"])

        with ThreadPoolExecutor(len(prompts)) as clients:
            return list(clients.map(complete, prompts))

    def score(windows: list[list[int]]) -> Iterator[list[float]]:
        def score_window(number: int) -> list[float]:
            window, slot = windows[number], number % int(slots)
            return [_log_prob(url, window[:end], window[end], slot) for end in range(1, len(window))]

        with ThreadPoolExecutor(int(slots)) as clients:
            yield from clients.map(score_window, range(len(windows)))

    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    return child.Peer(
        f"llama.cpp {(version.stdout + version.stderr).partition('version: ')[2].split()[0]}",
        generate,
        score,
    )


def _log_prob(url: str, before: list[int], token: int, slot: int) -> float:
    """The log-probability of `token` after `before`.

    A bias makes the token the answer; the server reports its log-probability without the bias. The slot keeps
    the tokens of the last request, so each request adds one.
    """
    body = {
        "prompt": before,
        "n_predict": 1,
        "temperature": 0,
        "logit_bias": [[token, LARGE_BIAS]],
        "n_probs": 1,
    }
    answer = _post(f"{url}/completion", {**body, "id_slot": slot, "cache_prompt": True})
    if "completion_probabilities" not in answer:
        sys.exit(f"token {token} is a part of a character and has no log-probability: give an ASCII --text")
    (chosen,) = answer["completion_probabilities"]
    if chosen["id"] != token:
        sys.exit(f"{url} chose token {chosen['id']} instead of {token}, which has a bias of {LARGE_BIAS:g}")
    return float(chosen["logprob"])


def _post(url: str, body: dict[str, object]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


if __name__ == "__main__":
    child.run(load)
