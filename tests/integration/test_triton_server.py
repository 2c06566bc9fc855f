"""The end of Triton, and a repository without models."""

import os
import signal
from pathlib import Path

import pytest
from support.command import run
from support.ensemble import ENDLESS, serving
from support.servers import tail
from support.triton_calls import Stream
from support.waiting import wait_until

from slipway.triton.repository import write_repository


def test_an_interrupt_lets_answers_end_and_unloads_cleanly_also_when_many_left(
    engine_dir: Path, tmp_path: Path
) -> None:
    write_repository(engine_dir, tmp_path / "repository")
    log = tmp_path / "log"
    with serving(engine_dir.name, tmp_path / "repository", log) as server:
        streams = [Stream(server.grpc, server.model, **ENDLESS) for _ in range(18)]
        wait_until(lambda: server.running() == 16)
        for stream in streams:
            stream.leave()
        wait_until(lambda: (server.running(), server.waiting()) == (0, 0))
        running = iter(Stream(server.grpc, server.model, **{**ENDLESS, "max_tokens": 60}))
        next(running)
        server.process.send_signal(signal.SIGINT)
        assert list(running)[-1].as_numpy("finish_reason").item() == b"length", "it ends by itself"
        assert server.process.wait(20) == 0, tail(log)
        assert f"successfully unloaded '{engine_dir.name}.engine'" in log.read_text()
        with pytest.raises(ProcessLookupError):
            os.killpg(server.process.pid, 0)


def test_an_empty_repository_is_one_sentence(tmp_path: Path) -> None:
    done = run("slipway", "triton", f"--model-repository={tmp_path}", f"--engines={tmp_path}", status=1)
    assert done.stderr == f"error: {tmp_path} holds no models; run `make engine` first.\n"
