from collections.abc import Iterable, Iterator
from itertools import count

import pytest
from support.scripted_server import content, finish, thought, usage

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
    assert answer == TimedAnswer((1.0, 2.0), first_word=1.0, ended=3.0, prompt_tokens=7, output_tokens=2)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_are_timed_as_tokens_and_the_first_word_apart(field: str):
    thoughts = [thought("hm ", field)] * 3
    answer = read([*data(*thoughts, content("so"), finish(), usage(7, 4)), "[DONE]"])
    assert answer.chunks == (0.0, 1.0, 2.0, 3.0)
    assert answer.first_word == 3.0


def test_a_thought_that_is_sent_under_both_names_is_one_chunk():
    both = '{"choices": [{"delta": {"reasoning_content": "hm", "reasoning": "hm"}, "finish_reason": null}]}'
    assert read([both, *data(content("so"), finish(), usage(7, 2)), "[DONE]"]).chunks == (0.0, 1.0)


@pytest.mark.parametrize("pieces", [[thought("hm")], []], ids=["thoughts", "the opening tag"])
def test_an_answer_that_ends_before_its_first_word_is_measured(pieces: list[str]):
    answer = read([*data(*pieces, finish(), usage(7, 1)), "[DONE]"])
    assert (answer.first_word, answer.output_tokens) == (None, 1)


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
