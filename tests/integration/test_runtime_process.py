"""The engine in a process of its own: streams, clients that leave, a worker or a parent that dies."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from support.altered import altered
from support.paths import ROOT
from support.waiting import wait_until_async

from slipway.contract.errors import (
    ContextLengthExceeded,
    EngineFailed,
    EngineRefused,
    InvalidRequest,
    ModelUnavailable,
)
from slipway.contract.generation import Grammar, SamplingParams
from slipway.runtime.worker.process import EngineProcess

PROMPT = tuple(range(5, 25))
SHORT = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
ENDLESS = SamplingParams(max_tokens=4000, temperature=0.0, ignore_eos=True)


@pytest.fixture
async def engine(engine_dir: Path) -> AsyncIterator[EngineProcess]:
    engine = await EngineProcess.start(engine_dir)
    yield engine
    await engine.close()


async def answer(engine: EngineProcess, request_id: str, sampling: SamplingParams = SHORT) -> list[int]:
    return [
        token async for delta in engine.generate(request_id, PROMPT, sampling) for token in delta.token_ids
    ]


async def first(engine: EngineProcess, request_id: str, prompt: Sequence[int]) -> None:
    async with aclosing(engine.generate(request_id, prompt, SHORT)) as stream:
        await anext(stream)


def reason(engine: EngineProcess) -> str:
    """Why no requests are taken, or nothing."""
    try:
        engine.check()
    except ModelUnavailable as error:
        return str(error)
    return ""


def worker() -> psutil.Process:
    """The engine process of this test process."""
    [found] = [child for child in psutil.Process().children() if "slipway.runtime.worker" in child.cmdline()]
    return found


async def test_sixteen_streams_at_once_equal_one_alone(engine: EngineProcess) -> None:
    alone = await answer(engine, "alone")
    assert len(alone) == 12
    together = await asyncio.gather(*(answer(engine, f"{index}") for index in range(16)))
    assert together == [alone] * 16


async def test_a_client_that_leaves_frees_its_slot(engine: EngineProcess) -> None:
    async with aclosing(engine.generate("closes", PROMPT, ENDLESS)) as stream:
        async for _ in stream:
            break
    listening = asyncio.create_task(answer(engine, "cancelled", ENDLESS))
    await wait_until_async(lambda: engine.stats.running == 1)
    listening.cancel()
    await wait_until_async(lambda: engine.stats.running == 0)
    assert engine.ready


async def test_a_request_that_cannot_be_served_is_refused_and_harms_no_other(engine: EngineProcess) -> None:
    async with aclosing(engine.generate("good", PROMPT, ENDLESS)) as good:
        await anext(good)
        with pytest.raises(ContextLengthExceeded, match="9000 tokens"):
            [delta async for delta in engine.generate("too long", [5] * 9000, SHORT)]
        with pytest.raises(InvalidRequest, match="good is in use"):
            await answer(engine, "good")
        assert (await anext(good)).token_ids
    assert len(await answer(engine, "too long")) == 12, "its id is free again"
    with pytest.raises(InvalidRequest, match="cannot be used"):
        await answer(engine, "no grammar", SamplingParams(max_tokens=9, grammar=Grammar("regex", "(a")))


async def test_a_worker_that_is_killed_fails_its_answers_and_is_replaced(engine: EngineProcess) -> None:
    before = await answer(engine, "before")
    held = psutil.Process().num_fds()
    listening = [asyncio.create_task(answer(engine, f"{index}", ENDLESS)) for index in range(3)]
    await wait_until_async(lambda: engine.stats.running == 3)
    worker().kill()
    for outcome in await asyncio.gather(*listening, return_exceptions=True):
        assert isinstance(outcome, EngineFailed)
        assert "ended (SIGKILL) in the middle of an answer" in str(outcome)
    assert not engine.ready
    assert engine.stats.running == 0
    with pytest.raises(ModelUnavailable, match="started again"):
        await answer(engine, "meanwhile")
    await wait_until_async(lambda: engine.ready)
    assert await answer(engine, "after") == before
    assert psutil.Process().num_fds() == held, "nothing of the dead one is left"
    assert sorted(thread.name for thread in threading.enumerate() if "engine" in thread.name) == [
        "engine events",
        "engine requests",
    ]


async def test_a_worker_that_stands_still_holds_up_only_its_own_streams(engine: EngineProcess) -> None:
    process = worker()
    process.suspend()
    safety = threading.Timer(10, process.resume)
    safety.start()
    # More than a pipe takes.
    prompts = [range(1000, 9000)] * 4
    asked = [asyncio.create_task(first(engine, f"{row}", prompt)) for row, prompt in enumerate(prompts)]
    start = time.monotonic()
    await asyncio.sleep(0.1)
    assert time.monotonic() - start < 5, "the event loop went on"
    for task in asked:
        task.cancel()
    process.resume()
    safety.cancel()
    assert len(await answer(engine, "after")) == 12


async def test_a_worker_that_stands_still_for_seconds_takes_no_requests_and_then_goes_on(
    engine: EngineProcess,
) -> None:
    process = worker()
    async with aclosing(engine.generate("long", PROMPT, ENDLESS)) as stream:
        await anext(stream)
        process.suspend()
        try:
            await wait_until_async(lambda: "has been silent for" in reason(engine))
            assert not engine.ready
            with pytest.raises(ModelUnavailable, match="Try again"):
                await answer(engine, "meanwhile")
        finally:
            process.resume()
        await wait_until_async(lambda: engine.ready)
        assert (await anext(stream)).token_ids, "its answers go on"
    assert worker() == process


async def test_a_worker_that_cannot_be_started_again_yet_is_tried_again(engine: EngineProcess) -> None:
    process = worker().pid
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # no file can be opened, so no pipe made
    try:
        os.kill(process, signal.SIGKILL)
        await wait_until_async(lambda: not engine.ready)
        await asyncio.sleep(0.2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await wait_until_async(lambda: engine.ready)
    assert len(await answer(engine, "after")) == 12


async def test_an_engine_that_is_refused_when_its_worker_starts_again_is_tried_until_it_is_mended(
    int8_engine_dir: Path, tmp_path: Path
) -> None:
    directory = altered(int8_engine_dir, tmp_path / "engine")
    engine = await EngineProcess.start(directory)
    there, away = directory / "engine.json", tmp_path / "engine.json"
    there.rename(away)
    worker().kill()
    await wait_until_async(lambda: "engine.json is missing" in reason(engine))
    away.rename(there)
    await wait_until_async(lambda: engine.ready)
    assert len(await answer(engine, "after")) == 12
    await engine.close()


async def test_an_engine_that_fails_in_a_step_is_replaced_like_one_that_died(
    int8_engine_dir: Path, tmp_path: Path
) -> None:
    # A manifest that promises more tokens than the graph has embeddings lets an impossible one through.
    engine = await EngineProcess.start(altered(int8_engine_dir, tmp_path / "lying", vocab_size=60_000))
    with pytest.raises(EngineFailed, match="stopped in the middle of a step"):
        [delta async for delta in engine.generate("impossible", [59_999], SHORT)]
    await wait_until_async(lambda: not engine.ready)
    await wait_until_async(lambda: engine.ready)
    assert len(await answer(engine, "after")) == 12
    await engine.close()


async def test_ctrl_c_for_the_whole_group_leaves_the_worker_to_its_parent(engine: EngineProcess) -> None:
    os.kill(worker().pid, signal.SIGINT)
    assert len(await answer(engine, "still here")) == 12


async def test_closing_ends_running_answers_and_the_worker(engine_dir: Path) -> None:
    engine = await EngineProcess.start(engine_dir)
    process = worker()
    running = engine.generate("running", PROMPT, ENDLESS)
    await anext(running)
    await engine.close()
    assert sum([delta.token_count async for delta in running]) < 3900
    assert not process.is_running()
    with pytest.raises(ModelUnavailable, match="shutting down"):
        await answer(engine, "after")


async def test_the_environment_switches_drafts_off(
    int8_engine_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_SPECULATION", "perhaps")
    with pytest.raises(EngineRefused, match="SLIPWAY_SPECULATION is 'perhaps'"):
        await EngineProcess.start(int8_engine_dir)
    monkeypatch.setenv("SLIPWAY_SPECULATION", "off")
    engine = await EngineProcess.start(int8_engine_dir)
    async for _ in engine.generate("repeats itself", (5, 6) * 9, ENDLESS):
        if engine.stats.generated_tokens > 40:
            break
    assert engine.stats.draft_tokens == 0
    await engine.close()


async def test_an_engine_that_is_refused_says_so_in_the_workers_words(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match=r"engine\.json is missing"):
        await EngineProcess.start(tmp_path)


def test_a_worker_does_not_outlive_a_parent_that_is_killed(engine_dir: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from slipway.runtime.worker.process import EngineProcess\n"
        "async def main():\n"
        "    await EngineProcess.start(Path(sys.argv[1]))\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(engine_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.readline() == "ready\n"
    children = psutil.Process(parent.pid).children()
    assert children
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
