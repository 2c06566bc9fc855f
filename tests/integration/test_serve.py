import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from support.altered import altered
from support.paths import ROOT
from support.servers import free_port
from support.waiting import wait_until

from slipway.serve.python_backend import STUB
from slipway.triton.repository import write_repository

OPTIONS = ("--port", "--triton-http-port", "--triton-grpc-port", "--triton-metrics-port")


@pytest.fixture
def repository(engine_dir: Path, tmp_path: Path) -> Path:
    write_repository(engine_dir, tmp_path / "repository")
    return tmp_path / "repository"


def ports() -> dict[str, int]:
    return {option: free_port() for option in OPTIONS}


def command(repository: Path, chosen: dict[str, int]) -> list[str]:
    options = [f"{option}={port}" for option, port in chosen.items()]
    return [sys.executable, "-m", "slipway", "serve", f"--model-repository={repository}", *options]


@contextmanager
def serving(repository: Path) -> Iterator[subprocess.Popen[str]]:
    """`make serve` in the foreground of a terminal of its own, on a machine that has a proxy for the rest."""
    process = subprocess.Popen(
        command(repository, ports()),
        cwd=ROOT,
        env=os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY"), "http://127.0.0.1:9"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()  # The servers end with it, however it ends.
        process.communicate()


def family(process: subprocess.Popen[str], at_least: int) -> list[psutil.Process]:
    """The servers and their own children, as soon as there are at least this many."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        children = psutil.Process(process.pid).children(recursive=True)
        if len(children) >= at_least:
            return children
        time.sleep(0.05)
    raise AssertionError(f"fewer than {at_least} children: {children}")


def runs_triton(process: subprocess.Popen[str]) -> bool:
    with suppress(psutil.NoSuchProcess):  # A child that ended just now.
        return any("tritonserver" in child.name() for child in family(process, at_least=1))
    return False


def curl_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def gone(children: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(children, timeout=60)[1]


def test_the_printed_curl_line_answers_and_ctrl_c_leaves_no_process(engine_dir: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    # The path of the engines need not be ASCII.
    write_repository(Path(shutil.copytree(engine_dir, tmp_path / "내 엔진" / engine_dir.name)), repository)
    with serving(repository) as process:
        line = curl_line(process)
        reply = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=60)
        assert "Paris" in json.loads(reply.stdout)["choices"][0]["message"]["content"]
        children = family(process, at_least=5)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0
        assert stderr.endswith("Stopped.\n")
        assert gone(children)


def test_sigterm_ends_it_while_the_models_are_still_loading(repository: Path) -> None:
    with serving(repository) as process:
        # Before Triton it has other children for a moment, and SIGTERM just ends it.
        wait_until(lambda: runs_triton(process))
        children = family(process, at_least=1)
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 0
        assert gone(children)


def test_the_servers_do_not_outlive_a_killed_parent(repository: Path) -> None:
    with serving(repository) as process:
        curl_line(process)
        children = family(process, at_least=5)
        process.kill()
        assert gone(children)


@pytest.mark.parametrize("option", OPTIONS)
def test_a_taken_port_is_one_sentence_before_anything_starts(repository: Path, option: str) -> None:
    chosen = ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", chosen[option]))
        other.listen()
        done = subprocess.run(
            command(repository, chosen), cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {chosen[option]}" in done.stderr
    assert f"{option} PORT" in done.stderr
    assert done.stdout == ""


def test_a_port_given_twice_is_one_sentence(repository: Path) -> None:
    chosen = ports()
    chosen["--triton-grpc-port"] = chosen["--port"]
    done = subprocess.run(
        command(repository, chosen), cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    assert f"Port {chosen['--port']} is given to both" in done.stderr


def test_a_triton_that_cannot_start_ends_the_command_with_the_end_of_its_log(
    repository: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "tritonserver"
    broken.write_text("#!/bin/sh\necho 'no such device'\nexit 3\n")
    broken.chmod(0o755)
    done = subprocess.run(
        command(repository, ports()),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "SLIPWAY_TRITONSERVER": str(broken)},
    )
    assert done.returncode == 1
    assert "Triton ended by itself (exit status 3)" in done.stderr
    assert done.stderr.endswith("  no such device\n")


def with_stub(directory: Path, script: str) -> dict[str, str]:
    """An environment with the real tritonserver, and a program that takes the place of its Python stub.

    Triton starts it with arguments for each stage, `slipway` without any before.
    """
    pytriton = importlib.util.find_spec("pytriton")
    assert pytriton is not None
    assert pytriton.origin is not None
    wheel = Path(pytriton.origin).parent
    shutil.copytree(wheel / "tritonserver" / "backends" / "python", directory / "backends" / "python")
    (directory / "bin").mkdir()
    start = f"exec {wheel}/tritonserver/bin/tritonserver --backend-directory={directory}/backends"
    libraries = wheel.parent / "nvidia_pytriton.libs"
    for path, content in (
        (directory / "backends" / "python" / STUB, script),
        (directory / "bin" / "tritonserver", f'LD_LIBRARY_PATH={libraries} {start} "$@"'),
    ):
        path.write_text(f"#!/bin/sh\n{content}\n")
        path.chmod(0o755)
    return {**os.environ, "SLIPWAY_TRITONSERVER": str(directory / "bin" / "tritonserver")}


# Triton takes the right to read the stub away before it starts it. A program needs none; a script does.
started_by_triton = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a script it may not read")
MISSING = "error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file"


@pytest.mark.parametrize(
    ("script", "option", "problem"),
    [
        pytest.param(
            f'echo "$0: {MISSING}" >&2; exit 127',
            (),
            "install Python's shared library",
            id="before the start",
        ),
        pytest.param(
            f'[ $# = 0 ] || echo "$0: {MISSING}" >&2; exit 127',
            (),
            "ended before it began",
            id="after the start",
            marks=started_by_triton,
        ),
        pytest.param(
            "[ $# = 0 ] || exec sleep 60",
            ("--ready-timeout=3",),
            "Triton is not ready after 3 s",
            id="never",
            marks=started_by_triton,
        ),
    ],
)
def test_a_stage_that_cannot_start_ends_the_command_with_the_reason(
    repository: Path, tmp_path: Path, script: str, option: tuple[str, ...], problem: str
) -> None:
    done = subprocess.run(
        [*command(repository, ports()), *option],
        cwd=ROOT,
        env=with_stub(tmp_path / "tritonserver", script),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert problem in done.stderr
    assert option or MISSING in done.stderr


def test_with_no_engine_that_loads_it_says_why_and_ends(engine_dir: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "망가진 엔진"
    shutil.copytree(engine_dir, damaged)
    (damaged / "model.onnx.data").unlink()
    write_repository(damaged, tmp_path / "repository")
    done = subprocess.run(
        command(tmp_path / "repository", ports()),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "망가진 엔진/model.onnx.data is missing" in done.stderr
    assert "Triton loaded no engine" in done.stderr


def test_an_engine_of_another_gpu_is_not_served_and_says_which(engine_dir: Path, tmp_path: Path) -> None:
    """The stand-in for an engine that trtllm-build compiled elsewhere: everything else about it is right."""
    elsewhere = altered(
        engine_dir, tmp_path / "elsewhere", name="foreign", target="tensorrt-llm", compute_capability="9.0"
    )
    write_repository(elsewhere, tmp_path / "repository")
    done = subprocess.run(
        command(tmp_path / "repository", ports()),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )
    assert done.returncode == 1
    assert "Engine foreign was compiled for a GPU of compute capability 9.0." in done.stderr
    assert "CUDA_VISIBLE_DEVICES hides every GPU" in done.stderr
    assert "Triton loaded no engine" in done.stderr


@pytest.mark.parametrize(
    ("option", "way_out"),
    [
        ("--host=0.0.0.0", ("--keys", "--insecure")),
        ("--keys=nowhere/keys.yaml", ("slipway keys new NAME --file nowhere/keys.yaml",)),
    ],
)
def test_a_gateway_that_would_not_start_is_refused_before_anything_loads(
    repository: Path, option: str, way_out: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [*command(repository, ports()), option], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert all(way in done.stderr for way in way_out)
    assert "Triton loads" not in done.stderr
    assert not done.stdout
