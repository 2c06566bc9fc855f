"""`slipway gateway --workers`: several processes on one port, as an operator sees them."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from support.command import run
from support.instant_gateway import InstantGateway, instant_gateway
from support.waiting import wait_until

WORKERS = 3


@pytest.fixture(scope="module")
def gateway(engine_dir: Path) -> Iterator[InstantGateway]:
    with instant_gateway(engine_dir, "--workers", str(WORKERS)) as gateway:
        yield gateway


def answered(gateway: InstantGateway) -> bool:
    asked = {"model": gateway.model, "prompt": "Hi", "max_tokens": 3, "stream": True}
    with httpx.stream("POST", f"{gateway.url}/v1/completions", json=asked, timeout=60) as response:
        return response.read().endswith(b"data: [DONE]\n\n")


def cpu_s(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:2])


def test_every_worker_answers_its_share(gateway: InstantGateway) -> None:
    workers = gateway.server.children()
    assert len(workers) == WORKERS
    before = [cpu_s(worker) for worker in workers]
    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(lambda _: answered(gateway), range(120)))
    busy = [cpu_s(worker) - earlier for worker, earlier in zip(workers, before, strict=True)]
    assert min(busy) > 0.1 * max(busy), busy


def test_a_worker_that_dies_is_replaced_and_its_connections_wait(gateway: InstantGateway) -> None:
    [dead, *others] = gateway.server.children()
    dead.kill()
    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(lambda _: answered(gateway), range(24)))
    wait_until(lambda: len(gateway.server.children()) == WORKERS)
    workers = gateway.server.children()
    assert len(workers) == WORKERS
    assert set(others) < set(workers)
    assert dead not in workers


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_workers_end_with_the_server(engine_dir: Path, how: signal.Signals) -> None:
    with instant_gateway(engine_dir, "--workers", "2") as gateway:
        workers = gateway.server.children()
        assert len(workers) == 2
        os.kill(gateway.server.pid, how)
        assert not psutil.wait_procs(workers, timeout=60)[1]
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{gateway.url}/health/live")


def test_a_local_engine_is_one_process(engine_dir: Path) -> None:
    done = run("slipway", "gateway", "--engine", engine_dir, "--workers", 2, status=2)
    assert "--workers is 2" in done.stderr
    assert "--backend triton" in done.stderr


def test_a_taken_port_is_not_shared(gateway: InstantGateway, engine_dir: Path) -> None:
    options = ["--backend", "triton", "--engines", engine_dir.parent, "--workers", 2]
    done = run("slipway", "gateway", *options, "--port", gateway.port, status=1)
    assert f"Port {gateway.port}" in done.stderr
