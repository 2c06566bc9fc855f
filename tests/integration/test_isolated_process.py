"""Work in a process of its own is bounded, and the next question finds a process that works."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psutil
import pytest
from support.paths import ROOT
from support.waiting import wait_until

from slipway.contract.errors import EngineFailed
from slipway.runtime.isolated import process as isolated
from slipway.runtime.isolated.pool import ProcessPool
from slipway.runtime.isolated.process import IsolatedProcess, Stopped

PROGRAM = "support.greedy_program"


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[IsolatedProcess]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    monkeypatch.setattr(isolated, "PATIENCE_S", 0.5)
    with closing(IsolatedProcess(PROGRAM, "first")) as process:
        yield process


def test_questions_are_answered_by_one_process(process: IsolatedProcess) -> None:
    assert process.open() == {"opened": "first"}
    texts = ["", "한국어 🇰🇷\n", "\ud800", "x" * 300_000]
    answers = [process.ask({"text": text}) for text in texts]
    assert [answer["text"] for answer in answers] == texts
    assert len({answer["pid"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"seconds": 60}, "it takes more than 0.5 s"),
        ({"bytes": 1_000_000_000}, "it ended its process"),
        ({"status": 9}, "it ended its process .status 9"),
    ],
)
def test_a_question_that_takes_too_much_is_stopped_and_the_next_one_answered(
    process: IsolatedProcess, question: Any, reason: str
) -> None:
    with pytest.raises(Stopped, match=reason):
        process.ask(question)
    assert process.ask({"bytes": 1000})["held"] == 1000


def test_a_process_that_does_not_run_is_ended(
    process: IsolatedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "_MARGIN_S", 0.5)
    stopped = psutil.Process(process.ask({})["pid"])
    stopped.suspend()
    with pytest.raises(Stopped, match="more than"):
        process.ask({})
    assert not stopped.is_running()
    assert process.ask({"bytes": 1})["held"] == 1


def test_another_program_that_kills_the_process_is_blamed(
    process: IsolatedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "PATIENCE_S", 60)
    victim = psutil.Process(process.ask({})["pid"])
    threading.Timer(0.2, victim.kill).start()
    with pytest.raises(EngineFailed, match="was killed; send the request again"):
        process.ask({"seconds": 60})
    idle = psutil.Process(process.ask({})["pid"])
    idle.kill()
    wait_until(lambda: idle.status() == psutil.STATUS_ZOMBIE)
    assert process.ask({"bytes": 1})["held"] == 1, "a process that died between questions is started again"


def test_closing_ends_what_runs(process: IsolatedProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "PATIENCE_S", 60)
    running = psutil.Process(process.ask({})["pid"])
    threading.Timer(0.2, process.close).start()
    with pytest.raises(EngineFailed):
        process.ask({"seconds": 60})
    assert not running.is_running()
    with pytest.raises(EngineFailed, match="shutting down"):
        process.ask({})


def test_a_program_that_does_not_start_says_where_its_error_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        closing(IsolatedProcess("support.no_such_program", None)) as process,
        pytest.raises(EngineFailed, match="does not start"),
    ):
        process.open()


def test_a_second_process_answers_while_the_first_is_busy(
    process: IsolatedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "PATIENCE_S", 60)
    with closing(ProcessPool(PROGRAM, None)) as pool:
        pool.open()
        with ThreadPoolExecutor() as threads:
            busy = threads.submit(pool.ask, {"seconds": 30})
            time.sleep(0.2)
            assert pool.ask({"bytes": 1})["held"] == 1
            pool.close()
            with pytest.raises(EngineFailed):
                busy.result(20)
