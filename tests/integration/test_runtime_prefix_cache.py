"""Prompts that were read before: reused, with the same answer to the bit, within a bound of memory."""

import gc
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
from support.altered import BYTES_PER_TOKEN, altered, memory_for
from support.answers import Answer
from support.waiting import wait_until

from slipway.contract.generation import SamplingParams
from slipway.runtime.block_cache import BLOCK
from slipway.runtime.engine import Engine
from slipway.runtime.executors.onnxruntime import SlotExecutor
from slipway.runtime.sequence import joined

EXACT = SamplingParams(max_tokens=8, temperature=0.0, log_probs=True, ignore_eos=True)
ENDLESS = SamplingParams(max_tokens=2000, temperature=0.0, ignore_eos=True)
MIB = 1 << 20
LENGTH = 300  # in slots of 8,192


def prompt(length: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(3, 49_000, length).tolist()


HEADER = prompt(200, seed=0)
PROMPTS = [
    [*HEADER, *prompt(40, seed=1)],
    [*HEADER, *prompt(40, seed=1), *prompt(30, seed=2)],  # goes on, in place
    [*HEADER, *prompt(25, seed=3)],  # the header alone, copied
    [*HEADER, *prompt(40, seed=1)],  # the very same
    HEADER,
    prompt(60, seed=4),
]
CACHED = [0, 240, 200, 238, 198, 0]


def test_an_answer_from_the_cache_is_the_same_to_the_bit(each_engine_dir: Path) -> None:
    with closing(Engine(each_engine_dir, cache_bytes=0)) as engine:
        cold = [joined(Answer(engine, "cold", tokens, EXACT).rest()) for tokens in PROMPTS]
    assert all(answer.cached_tokens == 0 for answer in cold)
    expected = [replace(answer, cached_tokens=None) for answer in cold]
    with closing(Engine(each_engine_dir)) as engine:
        pages = engine.manifest.target.runtime == "openvino"
        for tokens, cached, answer in zip(PROMPTS, CACHED, expected, strict=True):
            if pages:  # whole ones are shared
                cached = cached // BLOCK * BLOCK
            assert joined(Answer(engine, "warm", tokens, EXACT).rest()) == replace(
                answer, cached_tokens=cached
            )
        # All at once: prefixes are copied from slots that run, and rows decode among others.
        together = [Answer(engine, f"{index}", tokens, EXACT) for index, tokens in enumerate(PROMPTS * 2)]
        assert [answer.exact() for answer in together] == expected * 2


def test_what_a_client_that_left_had_read_serves_the_next_one(engine_dir: Path) -> None:
    with closing(Engine(engine_dir)) as engine:
        beside = Answer(engine, "beside", prompt(20, seed=6), ENDLESS)
        beside.next()
        leaver = Answer(engine, "leaver", [*HEADER, *prompt(1200, seed=5)], EXACT)
        wait_until(lambda: engine.stats.running == 2)
        for _ in range(20):  # each step reads at least 8 tokens of the prompt
            beside.next()
        engine.cancel("leaver")
        engine.cancel("beside")
        leaver.rest()
        again = Answer(engine, "again", [*HEADER, *prompt(1200, seed=5)], EXACT).rest()
        assert again[0].cached_tokens >= 128


def test_memory_follows_the_tokens_in_use_and_goes_back(engine_dir: Path) -> None:
    cache_bytes = 20 * MIB
    with closing(Engine(engine_dir, cache_bytes=cache_bytes)) as engine:
        # What onnxruntime keeps for itself, it keeps after the first prompt of this length, but for what
        # steps of several rows take, and what other tests of this process left behind or give back.
        Answer(engine, "first", prompt(LENGTH, seed=9), EXACT).rest()
        before, cached = resident(), kv_cache()
        others = 100 * MIB
        long = [Answer(engine, f"{row}", prompt(LENGTH, seed=row), ENDLESS) for row in range(4)]
        for answer in long:
            answer.next()
        grown = kv_cache() - cached
        # The first goes on while the last is read; drafts are written beside the tokens.
        in_use = (4 * LENGTH + sum(answer.heard() for answer in long)) * BYTES_PER_TOKEN
        assert 0.9 * 4 * LENGTH * BYTES_PER_TOKEN < grown < 1.2 * in_use, (
            "16 slots of 8,192 would be fifty times it"
        )
        assert resident() - before < 1.1 * in_use + others
        for answer in long:
            engine.cancel(answer.request_id)
            answer.rest()
        assert kv_cache() - cached < 1.1 * cache_bytes, "it went back, but for the cache"
        assert resident() - before < cache_bytes + others


def test_a_slot_that_takes_over_a_prefix_gives_back_what_it_held(int8_engine_dir: Path) -> None:
    before = kv_cache()
    executor = SlotExecutor(int8_engine_dir, slots=2, max_len=512, threads=2)
    executor.prefill(0, prompt(20, seed=1))
    executor.prefill(1, prompt(400, seed=2))
    assert kv_cache() - before > 400 * BYTES_PER_TOKEN
    executor.copy(0, 1, 16)
    assert kv_cache() - before < 100 * BYTES_PER_TOKEN


def test_prompts_that_give_way_to_a_running_request_give_their_memory_back(
    int8_engine_dir: Path, tmp_path: Path
) -> None:
    with closing(Engine(altered(int8_engine_dir, tmp_path / "small", **memory_for(560)))) as engine:
        before = kv_cache()
        for seed in range(3):
            Answer(engine, "kept", prompt(180, seed), replace(EXACT, max_tokens=1)).rest()
        kept = kv_cache() - before
        assert kept > 3 * 176 * BYTES_PER_TOKEN
        # 560 tokens less the 300 that this one may come to leave room for one of the three.
        long = Answer(engine, "long", prompt(100, seed=9), replace(ENDLESS, max_tokens=200))
        long.next()
        assert kv_cache() - before < kept - 200 * BYTES_PER_TOKEN
        engine.cancel("long")
        long.rest()


def test_running_requests_share_the_pages_of_what_they_have_in_common(openvino_engine_dir: Path) -> None:
    shared, own = prompt(10 * BLOCK, seed=1), 20
    bytes_per_token = BYTES_PER_TOKEN // 2  # fp16
    with closing(Engine(openvino_engine_dir, cache_bytes=4 * BLOCK * bytes_per_token)) as engine:
        before = kv_cache()
        running = []
        for row in range(4):
            running.append(Answer(engine, f"{row}", [*shared, *prompt(own, seed=2 + row)], ENDLESS))
            first = running[-1].next()
            assert first.cached_tokens == (10 * BLOCK if row else 0)
        apart = own + 2 * BLOCK + sum(answer.heard() for answer in running)
        assert kv_cache() - before < (10 * BLOCK + 4 * apart) * bytes_per_token
        for answer in running:
            engine.cancel(answer.request_id)
            answer.rest()
        assert kv_cache() - before < 6 * BLOCK * bytes_per_token, "it went back, but for the cache"


def resident() -> int:
    """Each page once: RSS counts one of the cache as often as it is mapped."""
    gc.collect()
    return psutil.Process().memory_full_info().pss


def kv_cache() -> int:
    """What keys and values take of it."""
    gc.collect()
    mapped = psutil.Process().memory_maps(grouped=True)
    return sum(each.pss for each in mapped if "slipway-kv-cache" in each.path)
