"""How the real engine reads prompts: in chunks, beside running streams, with the same bits as at once."""

import queue
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.answers import Answer
from support.waiting import wait_until

from slipway.contract.generation import Delta, SamplingParams
from slipway.contract.manifest import Manifest
from slipway.runtime.engine import Engine
from slipway.runtime.executors.choice import open_executor

EXACT = SamplingParams(max_tokens=12, temperature=0.0, log_probs=True)
ENDLESS = SamplingParams(max_tokens=4000, temperature=0.0, ignore_eos=True)


def prompt(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 49_000, length).tolist()


@pytest.fixture(scope="module")
def engine(engine_dir: Path) -> Iterator[Engine]:
    with closing(Engine(engine_dir)) as engine:
        yield engine


def test_logits_and_cache_are_the_same_bits_wherever_the_chunks_end(each_engine_dir: Path) -> None:
    manifest = Manifest.read(each_engine_dir)
    executor = open_executor(each_engine_dir, manifest, slots=2, max_len=512, threads=2, on_cpu=False)
    tokens = prompt(301)
    at_once = executor.prefill(0, tokens).copy()
    for sizes in ([2] * 20 + [3, 258], [16] * 18 + [13], [7, 120, 2, 128, 33, 11], [128, 128, 45], [299, 2]):
        executor.release(1)
        start = 0
        for size in sizes:
            logits = executor.prefill(1, tokens[start : start + size])
            start += size
        assert (logits == at_once).all(), sizes
    following = prompt(20, seed=1)
    assert all(
        (row == other).all()
        for token in following
        for row, other in [[each.copy() for each in executor.decode([0, 1], [token, token])]]
    )


def test_running_streams_go_on_while_a_long_prompt_is_read(engine: Engine) -> None:
    streams = [Answer(engine, f"stream-{row}", prompt(20, seed=row), ENDLESS) for row in range(4)]
    for stream in streams:
        stream.next()
    long = Answer(engine, "long", prompt(1200), EXACT)
    long.next()
    during = [stream.heard() for stream in streams]
    assert min(during) > 8, "a step of the others for every few dozen tokens of the long one"
    for stream in streams:
        engine.cancel(stream.request_id)
        stream.rest()
    long.rest()


def test_a_long_prompt_gets_the_same_answer_beside_running_streams(engine: Engine, engine_dir: Path) -> None:
    with closing(Engine(engine_dir, cache_bytes=0)) as cold:
        alone = Answer(cold, "alone", prompt(1000), EXACT).exact()
    streams = [Answer(engine, f"stream-{row}", prompt(20, seed=row), ENDLESS) for row in range(3)]
    for stream in streams:
        stream.next()
    assert Answer(engine, "among", prompt(1000), EXACT).exact() == alone
    for stream in streams:
        engine.cancel(stream.request_id)
        stream.rest()


def test_a_client_that_leaves_while_its_prompt_is_read_frees_its_slot(engine: Engine) -> None:
    leaver = Answer(engine, "leaver", prompt(6000), EXACT)
    wait_until(lambda: engine.stats.running == 1)
    time.sleep(0.1)
    start = time.perf_counter()
    engine.cancel("leaver")
    assert leaver.rest() == [Delta(finish_reason="cancelled")]
    assert time.perf_counter() - start < 2, "it would have taken several seconds to read"
    assert engine.stats.running == 0


def test_a_burst_of_short_prompts_does_not_wait_for_a_decode_step_each(engine: Engine) -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    # Is read while the burst comes, and ends with its first token: no request waits for a next one then.
    Answer(engine, "before", prompt(500), replace(EXACT, max_tokens=1))
    for row in range(16):
        engine.submit(f"burst-{row}", prompt(20, seed=row), ENDLESS, lambda _, row=row: told.put(row))
    steps = []
    while len(set(steps)) < 16:
        steps.append(told.get(timeout=60))
    assert steps.count(0) < 12
    for row in range(16):
        engine.cancel(f"burst-{row}")
    wait_until(lambda: engine.stats.running == 0)
