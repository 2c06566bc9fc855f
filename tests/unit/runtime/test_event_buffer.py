from hypothesis import given
from hypothesis import strategies as st

from slipway.contract.errors import EngineFailed
from slipway.contract.generation import Delta
from slipway.runtime.sequence import Event
from slipway.runtime.worker.event_buffer import MAX_PAUSE, PAUSE_PER_STREAM, EventBuffer

FIRST = Delta(token_count=1, token_ids=(1,), cached_tokens=0)


def token(number: int) -> Delta:
    return Delta(token_count=1, token_ids=(number,), log_probs=(-float(number),))


def emptied(running: int) -> EventBuffer:
    """A buffer that was just emptied, at second 100."""
    outbox = EventBuffer()
    outbox.take(100, running)
    return outbox


def test_a_lone_stream_hears_of_every_step_of_more_than_a_pause() -> None:
    outbox = emptied(1)
    outbox.put("a", token(5))
    assert outbox.take(100 + 1.1 * PAUSE_PER_STREAM, 1) == (("a", token(5)),)


def test_many_streams_hear_of_several_steps_at_once_and_not_too_late() -> None:
    for running, pause in ((16, 16 * PAUSE_PER_STREAM), (1000, MAX_PAUSE)):
        outbox = emptied(running)
        for number in (5, 6):
            outbox.put("a", token(number))
            outbox.put("b", token(number))
            assert outbox.take(100 + 0.9 * pause, running) == ()
        joined = Delta(token_count=2, token_ids=(5, 6), log_probs=(-5, -6))
        assert outbox.take(100 + 1.1 * pause, running) == (("a", joined), ("b", joined))


def test_the_first_token_and_the_end_are_sent_at_once() -> None:
    outbox = emptied(16)
    outbox.put("waits", token(7))
    outbox.put("new", FIRST)
    outbox.put("ends", token(5))
    outbox.put("ends", Delta(token_count=1, token_ids=(6,), log_probs=(-6,), finish_reason="length"))
    outbox.put("fails", token(8))
    outbox.put("fails", EngineFailed("broken"))
    new, ends, fails, error = outbox.take(100, 16)
    assert new == ("new", FIRST)
    assert ends[1] == Delta(token_count=2, token_ids=(5, 6), log_probs=(-5, -6), finish_reason="length")
    assert fails == ("fails", token(8))
    assert isinstance(error[1], EngineFailed)


def test_an_error_without_a_token_before_it_is_told_too() -> None:
    outbox = emptied(16)
    outbox.put("refused", error := EngineFailed("broken"))
    assert outbox.take(100, 16) == (("refused", error),)


def test_what_may_not_wait_does_not() -> None:
    outbox = emptied(16)
    outbox.put("a", token(5), may_wait=False)
    assert outbox.take(100, 16) == (("a", token(5)),)


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 0.05), st.integers(1, 20)),
        max_size=60,
    )
)
def test_every_stream_gets_its_tokens_once_and_in_order(
    steps: list[tuple[str, bool, float, int]],
) -> None:
    outbox, now = EventBuffer(), 100.0
    put: dict[str, list[int]] = {}
    got: dict[str, list[int]] = {}

    def sort(events: tuple[tuple[str, Event], ...]) -> None:
        for stream, event in events:
            assert isinstance(event, Delta)
            assert event.token_count == len(event.token_ids) == len(event.log_probs)
            got.setdefault(stream, []).extend(event.token_ids)

    for number, (stream, may_wait, pause, running) in enumerate(steps):
        outbox.put(stream, token(number), may_wait)
        put.setdefault(stream, []).append(number)
        now += pause
        sort(outbox.take(now, running))
    sort(outbox.take(now + 1, 1))
    assert got == put
