"""The models shipped for a TensorRT-LLM engine in the real Triton, with ours behind the engine's tensors."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import free_port, running
from triton_calls import Stream, ask, chat, gauge
from trtllm_repository import NAME, compiled_engine, stand_in

from engines.manifest import FILE_NAME

QUESTION = chat("What is the capital of France?")
KOREAN = chat("한국의 수도는 어디인가요? 한국어로 답하세요.")
BEHIND = "behind"
ENDLESS = {"max_tokens": 2000, "end_id": -1, "stream": True, "text_input": "Once upon a time"}


@dataclass(frozen=True)
class Triton:
    grpc: str
    metrics: str

    def told(self, prompt: str, tokens: int, **inputs: object) -> str:
        return "".join(ask(self.grpc, NAME, prompt, tokens, **({"stream": True} | inputs)))

    def running(self) -> float:
        return gauge(self.metrics, "slipway_running_requests", BEHIND)


def renamed(engine: Path, directory: Path, name: str) -> Path:
    """The same engine under another name, so that its gauges are its own."""
    copy = directory / name
    copy.mkdir()
    for path in engine.iterdir():
        os.link(path, copy / path.name)
    manifest = json.loads((engine / FILE_NAME).read_text())
    (copy / FILE_NAME).unlink()
    (copy / FILE_NAME).write_text(json.dumps(manifest | {"name": name}))
    return copy


@pytest.fixture(scope="module")
def triton(engine_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    directory = tmp_path_factory.mktemp("trtllm")
    behind = renamed(engine_dir, directory, BEHIND)
    stand_in(compiled_engine(engine_dir, directory / "engines"), behind, directory / "repository")
    http, grpc, metrics = free_port(), free_port(), free_port()
    command = [sys.executable, "-m", "deploy", "triton", f"--model-repository={directory / 'repository'}"]
    command += [f"--http-port={http}", f"--grpc-port={grpc}", f"--metrics-port={metrics}"]
    with running(command, f"http://127.0.0.1:{http}/v2/models/{NAME}/ready"):
        yield Triton(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{metrics}")


def comes_true(claim: Callable[[], bool], within: float) -> bool:
    deadline = time.monotonic() + within
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_it_answers_streamed_and_whole(triton: Triton) -> None:
    streamed = triton.told(QUESTION, 40)
    assert "Paris" in streamed
    assert triton.told(QUESTION, 40, stream=False, exclude_input_in_output=True) == streamed


def test_streams_without_an_id_or_with_the_same_one_do_not_mix(triton: Triton) -> None:
    alone = [triton.told(KOREAN, 40), triton.told(QUESTION, 40)]
    assert max(map(ord, alone[0])) > 0x3000
    assert "�" not in alone[0][:-1]
    for request_id in ("", "1"):
        streams = [
            Stream(triton.grpc, NAME, request_id, text_input=prompt, max_tokens=40, stream=True)
            for prompt in (KOREAN, QUESTION) * 3
        ]
        together = ["".join(result.as_numpy("text_output")[0].decode() for result in s) for s in streams]
        assert together == alone * 3


def test_a_client_that_leaves_is_stopped_by_its_id(triton: Triton) -> None:
    stream = Stream(triton.grpc, NAME, "leaving", **ENDLESS)
    next(iter(stream))
    assert triton.running() == 1
    stream.leave()
    assert comes_true(lambda: triton.running() == 0, within=2)
