"""The engine in process, with the real model: answers, neighbours, cancellation, refusals."""

import queue
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.altered import altered, memory_for
from support.answers import Answer
from support.waiting import wait_until

from slipway.contract.errors import ContextLengthExceeded, EngineFailed, EngineRefused, InvalidRequest
from slipway.contract.generation import Delta, Grammar, SamplingParams
from slipway.runtime.engine import Engine
from slipway.runtime.sequence import Event
from slipway.text.tokenizer import Tokenizer

QUESTIONS = (
    "What is the capital of France?",
    "안녕하세요? 오늘 날씨가 어때요?",
    "List three colours.",
    "def fibonacci(n):",
    "Why is the sky blue? " * 12,
    "Hi",
    "Write a line about the sea.",
    "How many legs has a spider?",
)
GREEDY = SamplingParams(max_tokens=24, temperature=0.0)
# Log-probabilities as well as tokens: a kernel that summed in another order would show in them long before it
# flipped a token.
EXACT = SamplingParams(max_tokens=12, temperature=0.0, log_probs=True)
ENDLESS = SamplingParams(max_tokens=4000, temperature=0.0, ignore_eos=True)


@pytest.fixture(scope="module")
def engine(engine_dir: Path) -> Iterator[Engine]:
    with closing(Engine(engine_dir)) as engine:
        yield engine


@pytest.fixture(scope="module")
def prompts(engine_dir: Path) -> list[list[int]]:
    """Sixteen prompts of 12 to about 90 tokens, no two alike."""
    tokenizer = Tokenizer.load(engine_dir)
    asked = [*QUESTIONS, *(f"{question} Be brief." for question in QUESTIONS)]
    return [
        tokenizer.encode(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n") for text in asked
    ]


@pytest.fixture(scope="module")
def alone(engine: Engine, prompts: list[list[int]]) -> list[Delta]:
    """What each prompt gets alone."""
    return [Answer(engine, "alone", prompt, EXACT).exact() for prompt in prompts]


def test_the_capital_of_france_is_paris(engine: Engine, engine_dir: Path, prompts: list[list[int]]) -> None:
    deltas = Answer(engine, "france", prompts[0], GREEDY).rest()
    ids = [token for delta in deltas for token in delta.token_ids]
    assert "Paris" in Tokenizer.load(engine_dir).decode(ids)
    assert deltas[-1].finish_reason == "stop"
    assert sum(delta.token_count for delta in deltas) == len(ids)
    assert not set(engine.manifest.eos_token_ids) & set(ids)


def test_sixteen_at_once_each_get_the_very_logits_they_get_alone_int4(
    engine: Engine, prompts: list[list[int]], alone: list[Delta]
) -> None:
    together = [Answer(engine, f"together-{index}", prompt, EXACT) for index, prompt in enumerate(prompts)]
    assert [answer.exact() for answer in together] == alone


@pytest.mark.parametrize("directory", ["int8_engine_dir", "openvino_engine_dir"])
def test_sixteen_at_once_each_get_the_very_logits_they_get_alone_int8(
    directory: str, prompts: list[list[int]], request: pytest.FixtureRequest
) -> None:
    with closing(Engine(request.getfixturevalue(directory))) as engine:
        alone = [Answer(engine, "alone", prompt, EXACT).exact() for prompt in prompts]
        together = [Answer(engine, f"{index}", prompt, EXACT) for index, prompt in enumerate(prompts)]
        assert [answer.exact() for answer in together] == alone


def test_requests_that_join_while_others_leave_get_the_same_answers(
    engine: Engine, prompts: list[list[int]], alone: list[Delta]
) -> None:
    long_ones = [Answer(engine, f"long-{index}", prompts[index], ENDLESS) for index in range(14)]
    # Every second of them leaves, so the running slots have holes, which the next requests fill.
    for answer in long_ones[::2]:
        answer.next()
        engine.cancel(answer.request_id)
        answer.rest()
    joined = [Answer(engine, f"joined-{index}", prompts[index], EXACT) for index in range(8)]
    assert [answer.exact() for answer in joined] == alone[:8]
    for answer in long_ones[1::2]:
        engine.cancel(answer.request_id)
        assert answer.rest()[-1].finish_reason == "cancelled"


def test_a_late_request_does_not_wait_for_an_early_one_to_finish(
    engine: Engine, prompts: list[list[int]]
) -> None:
    early = Answer(engine, "early", prompts[0], ENDLESS)
    early.next()
    assert Answer(engine, "late", prompts[1], GREEDY).tokens()
    assert engine.stats.running == 1, "the early one is still at it"
    engine.cancel("early")
    early.rest()


def test_a_cancelled_request_frees_its_slot_within_a_few_steps(
    engine: Engine, prompts: list[list[int]]
) -> None:
    answer = Answer(engine, "leaver", prompts[0], ENDLESS)
    answer.next()
    assert engine.stats.running == 1
    steps_before = answer.waiting()
    assert engine.cancel("leaver")
    wait_until(lambda: engine.stats.running == 0)
    steps = answer.rest()
    assert steps[-1] == Delta(finish_reason="cancelled")
    assert len(steps) < steps_before + 10
    assert not engine.cancel("leaver"), "it is gone"


def test_more_requests_than_slots_wait_their_turn_and_can_be_cancelled_there(
    engine: Engine, prompts: list[list[int]]
) -> None:
    slots = engine.stats.slots
    running = [Answer(engine, f"running-{index}", prompts[5], ENDLESS) for index in range(slots)]
    waiting = Answer(engine, "waiting", prompts[5], GREEDY)
    patient = Answer(engine, "patient", prompts[5], GREEDY)
    wait_until(lambda: (engine.stats.running, engine.stats.waiting) == (slots, 2))
    engine.cancel("waiting")
    assert waiting.rest() == [Delta(finish_reason="cancelled")]
    engine.cancel(running[3].request_id)
    assert patient.tokens()
    for answer in running:
        engine.cancel(answer.request_id)
        assert answer.rest()[-1].finish_reason == "cancelled"
    assert engine.stats.running == engine.stats.waiting == 0


def test_a_seed_gives_the_same_answer_beside_any_neighbours(engine: Engine, prompts: list[list[int]]) -> None:
    warm = SamplingParams(max_tokens=24, temperature=1.0, top_p=0.95, top_k=50, seed=11)
    alone = Answer(engine, "alone", prompts[6], warm).tokens()
    free = SamplingParams(max_tokens=24, temperature=1.5)
    neighbours = [Answer(engine, f"free-{index}", prompts[index], free) for index in range(8)]
    assert Answer(engine, "among others", prompts[6], warm).tokens() == alone
    for neighbour in neighbours:
        neighbour.rest()
    other = SamplingParams(max_tokens=24, temperature=1.0, top_p=0.95, top_k=50, seed=12)
    assert Answer(engine, "other seed", prompts[6], other).tokens() != alone


def test_a_request_that_fills_its_slot_to_the_last_token_is_answered_and_one_more_is_refused(
    engine_dir: Path, tmp_path: Path, engine: Engine
) -> None:
    limits = {"max_batch_size": 2, "max_input_len": 40, "max_seq_len": 50}
    with closing(Engine(altered(engine_dir, tmp_path / "small", limits=limits))) as small:
        ten = SamplingParams(max_tokens=10, temperature=0.0, ignore_eos=True)
        expected = Answer(engine, "roomy", list(range(5, 45)), ten).tokens()
        assert [Answer(small, f"full-{row}", list(range(5, 45)), ten).tokens() for row in range(2)] == [
            expected
        ] * 2
        with pytest.raises(ContextLengthExceeded, match=r"41 tokens.*at most 40"):
            Answer(small, "long prompt", [5] * 41, ten)
        with pytest.raises(ContextLengthExceeded, match=r"together 51.*holds 50"):
            Answer(small, "long answer", [5] * 40, SamplingParams(max_tokens=11))


def test_a_request_id_in_use_is_refused_and_free_again_afterwards(
    engine: Engine, prompts: list[list[int]]
) -> None:
    first = Answer(engine, "twin", prompts[0], ENDLESS)
    with pytest.raises(InvalidRequest, match="twin is in use"):
        Answer(engine, "twin", prompts[0], GREEDY)
    engine.cancel("twin")
    first.rest()
    assert Answer(engine, "twin", prompts[0], GREEDY).tokens()


def test_closing_an_engine_ends_its_requests(engine_dir: Path, prompts: list[list[int]]) -> None:
    engine = Engine(engine_dir)
    answer = Answer(engine, "last", prompts[0], ENDLESS)
    answer.next()
    engine.close()
    assert answer.rest()[-1].finish_reason == "cancelled"
    with pytest.raises(EngineFailed, match="is closed"):
        Answer(engine, "after", prompts[0], GREEDY)


def test_a_request_that_is_cancelled_while_the_engine_ends_hears_its_end(
    engine_dir: Path, prompts: list[list[int]]
) -> None:
    engine = Engine(engine_dir)
    in_a_step, go_on = threading.Event(), threading.Event()
    heard: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def hold(event: Event) -> None:
        in_a_step.set()
        go_on.wait()

    engine.submit("running", prompts[0], ENDLESS, hold)
    in_a_step.wait()
    # Both are still being compiled; a client that sees the first cancelled gives the second up.
    once, twice = (replace(GREEDY, grammar=Grammar("regex", f"(yes|no){{{count}}}")) for count in (1, 2))
    engine.submit("first", prompts[0], once, lambda event: engine.cancel("second"))
    engine.submit("second", prompts[0], twice, heard.put)
    engine.cancel("first")
    closing_it = threading.Thread(target=engine.close)
    closing_it.start()
    time.sleep(0.1)
    go_on.set()
    closing_it.join()
    assert heard.get(timeout=60) == Delta(finish_reason="cancelled")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_step_that_fails_in_onnxruntime_is_told_to_every_client_and_breaks_the_engine(
    int8_engine_dir: Path, tmp_path: Path, prompts: list[list[int]]
) -> None:
    # A manifest that promises more tokens than the graph has embeddings lets an impossible one through.
    with closing(Engine(altered(int8_engine_dir, tmp_path / "lying", vocab_size=60_000))) as engine:
        bystander = Answer(engine, "bystander", prompts[0], ENDLESS)
        bystander.next()
        culprit = Answer(engine, "culprit", [59_999], GREEDY)
        for answer in (bystander, culprit):
            with pytest.raises(EngineFailed, match="smollm2-135m-int8 stopped in the middle of a step"):
                answer.rest()
        assert engine.failure is not None
        assert engine.stats.running == 0
        with pytest.raises(EngineFailed, match="start it again"):
            Answer(engine, "after", prompts[0], GREEDY)


def test_a_graph_that_cannot_hold_the_promised_context_is_refused(engine_dir: Path, tmp_path: Path) -> None:
    limits = {"max_batch_size": 2, "max_input_len": 40, "max_seq_len": 8193}
    with pytest.raises(EngineRefused, match=r"max_seq_len 8193.*holds 8192"):
        Engine(altered(engine_dir, tmp_path / "long", limits=limits))


def test_a_damaged_engine_is_refused_and_the_file_is_named(engine_dir: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(engine_dir, tmp_path / "engine"))
    with (copy / "model.onnx.data").open("r+b") as weights:
        weights.seek(1000)
        weights.write(b"not what was built")
    with pytest.raises(EngineRefused, match=r"model\.onnx\.data is damaged"):
        Engine(copy)
    (copy / "model.onnx.data").unlink()
    with pytest.raises(EngineRefused, match=r"model\.onnx\.data is missing"):
        Engine(copy)


def test_little_memory_makes_requests_wait_for_one_another(
    engine_dir: Path, tmp_path: Path, prompts: list[list[int]], alone: list[list[Delta]]
) -> None:
    """Memory for some 400 tokens: a handful of these sixteen requests at once, never all of them."""
    small = altered(engine_dir, tmp_path / "small", **memory_for(400))
    with closing(Engine(small)) as engine:
        answers = [Answer(engine, str(row), prompt, EXACT) for row, prompt in enumerate(prompts)]
        # Slots are free, memory is not.
        wait_until(lambda: engine.stats.running > 1 and engine.stats.waiting > 0)
        assert [answer.exact() for answer in answers] == alone


def test_an_engine_that_finds_no_memory_for_one_full_sequence_is_refused(
    engine_dir: Path, tmp_path: Path
) -> None:
    small = altered(engine_dir, tmp_path / "small", **memory_for(150))
    with pytest.raises(EngineRefused, match=r"sequences of 300 tokens.*memory for .* 1\d\d: 46 kB each"):
        Engine(small)
