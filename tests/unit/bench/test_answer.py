from collections.abc import Iterable, Iterator
from itertools import count

import pytest
from support.scripted_server import content, finish, usage

from bench.answer import RequestFailed, TimedAnswer, read_answer


def data(*events: str) -> Iterator[str]:
    return (event.removeprefix("data: ").strip() for event in events)


def read(events: Iterable[str]) -> TimedAnswer:
    """Read with a clock that ticks once per event, from 0."""
    ticks = count()
    return read_answer(events, lambda: float(next(ticks)))


def test_only_chunks_with_text_are_timed():
    role = '{"choices": [{"delta": {"role": "assistant", "content": ""}, "finish_reason": null}]}'
    answer = read([role, *data(content("a"), content("b"), finish(), usage(7, 2)), "[DONE]"])
    assert answer == TimedAnswer(chunks=(1.0, 2.0), ended=3.0, prompt_tokens=7, output_tokens=2)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        (data(content("a"), finish(), usage(1, 1)), r"without \[DONE\]"),
        ([*data(content("a"), usage(1, 1)), "[DONE]"], "no finish_reason"),
        ([*data(content("a"), finish()), "[DONE]"], "no usage"),
        ([*data(finish(), usage(1, 0)), "[DONE]"], "no text"),
        (["<html>"], "not JSON"),
        (['{"error": {"message": "the engine died"}}'], "the engine died"),
    ],
)
def test_an_answer_that_is_not_whole_is_a_failure_with_its_reason(events: Iterable[str], reason: str):
    with pytest.raises(RequestFailed, match=reason):
        read(events)


def test_the_stream_is_read_to_its_end_so_that_the_connection_can_be_used_again():
    events = iter([*data(content("a"), finish(), usage(1, 1)), "[DONE]"])
    read(events)
    assert next(events, None) is None
