"""Engines for GPUs through og.Generator, on the CPU: the whole engine, with what DirectML and CUDA can do.

`make test` runs this file twice: with the onnxruntime-genai for CUDA, and with the older one for DirectML.
"""

import gc
import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.altered import altered
from support.answers import Answer
from support.waiting import wait_until

from slipway.contract.errors import EngineRefused
from slipway.contract.generation import Delta, SamplingParams
from slipway.contract.manifest import open_engine
from slipway.runtime.engine import Engine
from slipway.runtime.executors.base import Executor
from slipway.runtime.executors.choice import open_executor
from slipway.runtime.sequence import joined

TARGET = "onnx-dml" if version("onnxruntime-genai").startswith("0.13.") else "onnx-cuda"
LIMITS = {"max_batch_size": 8, "max_input_len": 500, "max_seq_len": 1000}
GREEDY = SamplingParams(max_tokens=12, temperature=0.0)
EXACT = replace(GREEDY, log_probs=True)
ENDLESS = SamplingParams(max_tokens=900, temperature=0.0, ignore_eos=True)
MIB = 1 << 20


def prompt(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 49_000, length).tolist()


PROMPTS = [prompt(length, seed=length) for length in (12, 150, 1, 30, 7, 60)]


@pytest.fixture(scope="module")
def directory(engine_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with the manifest of an engine for a GPU."""
    place = tmp_path_factory.mktemp(TARGET) / "engine"
    return altered(engine_dir, place, target=TARGET, limits=LIMITS, requires={})


@pytest.fixture(scope="module")
def engine(directory: Path) -> Iterator[Engine]:
    with closing(Engine(directory, on_cpu=True)) as engine:
        yield engine


@pytest.fixture(scope="module")
def alone(engine: Engine) -> list[Delta]:
    return [Answer(engine, "alone", tokens, EXACT).exact() for tokens in PROMPTS]


def test_six_that_join_while_others_leave_get_the_very_logits_they_get_alone(
    engine: Engine, alone: list[Delta]
) -> None:
    others = [Answer(engine, f"other-{row}", prompt(20, seed=row), ENDLESS) for row in range(5)]
    joined = [Answer(engine, f"early-{row}", tokens, EXACT) for row, tokens in enumerate(PROMPTS[:3])]
    for other in others[::2]:
        other.next()
        engine.cancel(other.request_id)
        assert other.rest()[-1].finish_reason == "cancelled"
    joined += [Answer(engine, f"late-{row}", tokens, EXACT) for row, tokens in enumerate(PROMPTS[3:])]
    assert [answer.exact() for answer in joined] == alone
    for other in others[1::2]:
        engine.cancel(other.request_id)
        other.rest()


def test_log_probabilities_are_those_of_plain_onnxruntime(
    engine_dir: Path, tmp_path: Path, alone: list[Delta]
) -> None:
    with closing(Engine(altered(engine_dir, tmp_path / "slots", limits=LIMITS))) as slots:
        for tokens, whole in zip(PROMPTS, alone, strict=True):
            first = Answer(slots, "slots", tokens, EXACT).rest()[0]
            assert whole.log_probs[:1] == pytest.approx(first.log_probs, abs=0.05)


def test_four_more_do_not_wait_for_the_first_four_to_finish(engine: Engine) -> None:
    first = [Answer(engine, f"first-{row}", prompt(20, seed=row), ENDLESS) for row in range(4)]
    for answer in first:
        answer.next()
    second = [Answer(engine, f"second-{row}", prompt(20, seed=row), GREEDY) for row in range(4)]
    assert all(answer.tokens() for answer in second)
    assert engine.stats.running == 4, "the first four are still at it"
    for answer in first:
        engine.cancel(answer.request_id)
    wait_until(lambda: engine.stats.running == 0)


def test_a_prefix_is_gone_on_with_where_a_generator_can(engine: Engine, directory: Path) -> None:
    turns = [prompt(300, seed=7), [*prompt(300, seed=7), *prompt(40, seed=8)]]
    with closing(Engine(directory, cache_bytes=0, on_cpu=True)) as cold:
        expected = [Answer(cold, "cold", tokens, EXACT).exact() for tokens in turns]
    warm = [Answer(engine, "warm", tokens, EXACT).rest() for tokens in turns]
    appends = engine.manifest.target.device == "cuda"
    assert [deltas[0].cached_tokens for deltas in warm] == [0, 300 if appends else 0]
    assert [replace(joined(deltas), cached_tokens=None) for deltas in warm] == expected


def test_sampling_is_the_engines_own(engine: Engine) -> None:
    warm = SamplingParams(
        max_tokens=12, temperature=1.0, top_p=0.95, min_p=0.01, seed=11, frequency_penalty=1
    )
    answer = Answer(engine, "seeded", PROMPTS[0], warm).tokens()
    assert Answer(engine, "again", PROMPTS[0], warm).tokens() == answer
    assert Answer(engine, "other", PROMPTS[0], replace(warm, seed=12)).tokens() != answer


@pytest.mark.parametrize("token", [2, 49_151], ids=["end of sequence", "last of the vocabulary"])
def test_no_token_ends_an_answer_that_is_to_go_on(engine: Engine, token: int) -> None:
    forced = SamplingParams(max_tokens=5, temperature=0.0, ignore_eos=True, logit_bias=((token, 100.0),))
    assert Answer(engine, "forced", PROMPTS[3], forced).tokens() == [token] * 5


def test_many_requests_do_not_grow_resident_memory(engine: Engine) -> None:
    def serve(requests: int) -> int:
        for number in range(requests):
            Answer(engine, f"{number}", prompt(40, seed=number), replace(GREEDY, max_tokens=2)).rest()
        gc.collect()
        return psutil.Process().memory_info().rss

    before = serve(10)
    assert serve(40) - before < 4 * MIB, "a generator for each would be 45 MB"


def test_without_its_gpu_an_engine_is_refused_with_what_to_install(directory: Path) -> None:
    device, packages = {"onnx-dml": ("DirectML", "directml"), "onnx-cuda": ("CUDA", "cuda")}[TARGET]
    with pytest.raises(EngineRefused, match=rf"built for {device}.*slipway\[{packages}\].*onnx-cpu"):
        Engine(directory)


def test_a_graph_that_does_not_load_is_refused(directory: Path, tmp_path: Path) -> None:
    files = open_engine(directory).model_dump(mode="json")["files"]
    files["model.onnx"] = {"size": 8, "sha256": hashlib.sha256(b"no graph").hexdigest()}
    spoiled = altered(directory, tmp_path / "spoiled", files=files)
    (spoiled / "model.onnx").unlink()
    (spoiled / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(EngineRefused, match="does not load in onnxruntime-genai"):
        Engine(spoiled, on_cpu=True)


def run(executor: Executor, slot: int, chunks: list[list[int]], answer: list[int]) -> np.ndarray:
    """The logits after each chunk and each token of the answer, [n, vocab]."""
    read = [executor.prefill(slot, chunk).copy() for chunk in chunks]
    return np.stack(read + [executor.decode([slot], [token])[0].copy() for token in answer])


@pytest.mark.parametrize("target", ["onnx-cpu", TARGET])
def test_every_executor_keeps_what_its_capabilities_promise(
    target: str, engine_dir: Path, tmp_path: Path
) -> None:
    directory = altered(engine_dir, tmp_path / target, target=target, requires={})
    executor = open_executor(directory, open_engine(directory), 4, 200, threads=2, on_cpu=True)
    can = executor.capabilities
    one, other, answer = prompt(80, seed=1), prompt(50, seed=2), prompt(6, seed=3)
    alone = run(executor, 2, [one], answer)
    assert alone.shape == (7, 49_152)
    executor.release(2)
    assert (run(executor, 2, [one], answer) == alone).all(), "a slot serves one sequence after the other"
    logits = {0: run(executor, 0, [other], []), 3: run(executor, 3, [one], [])}
    for index, token in enumerate(answer):
        rows = executor.decode([0, 3], [token, token])
        assert (rows[1] == alone[index + 1]).all(), "a row does not depend on the others"
    assert (logits[3] == alone[0]).all()
    if can.appends:
        executor.release(3)
        assert (run(executor, 3, [one[:30], one[30:50], one[50:]], answer)[2:] == alone).all()
        executor.release(3, keep=50)
        assert (run(executor, 3, [one[50:]], answer) == alone).all()
    if can.copies:
        executor.copy(3, 1, 50)
        assert (run(executor, 1, [one[50:]], answer) == alone).all()
