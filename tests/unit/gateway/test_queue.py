"""Whose answer is generated now: the queue before an engine, without an engine."""

import asyncio
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.contract.errors import InvalidRequest
from slipway.gateway.errors import QueueFull
from slipway.gateway.queue import EngineQueue, Turn

PLACES = 3  # of an engine with two slots


def queue(bound: int = 100) -> EngineQueue:
    return EngineQueue("model", slots=PLACES - 1, bound=bound)


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(1, 4)), max_size=12))
async def test_turns_come_by_priority_then_by_arrival_and_no_more_than_places_at_a_time(
    requests: list[tuple[int, int]],
) -> None:
    line = queue()
    came: list[Turn] = []
    running = 0

    async def run(turn: Turn) -> None:
        nonlocal running
        async with turn:
            came.append(turn)
            running += 1
            assert running <= PLACES
            await asyncio.sleep(0)
            running -= 1

    with ExitStack() as stack:
        blocking = stack.enter_context(line.turns(PLACES, 0, "n", "ada"))
        asked = [
            turn
            for priority, count in requests
            for turn in stack.enter_context(line.turns(count, priority, "n", "ada"))
        ]
        tasks = [asyncio.create_task(run(turn)) for turn in reversed(asked)]
        await asyncio.sleep(0)
        assert came == [], "the places are taken"
        assert line.waiting == len(asked)
        for turn in blocking:
            line.leave(turn)
        await asyncio.gather(*tasks)
    # Those that start together may say so in any order; who is ahead by more than the places came earlier.
    order = sorted(asked, key=lambda turn: turn.rank)
    assert all(abs(came.index(turn) - at) < PLACES for at, turn in enumerate(order))
    assert line.waiting == 0


@given(
    st.lists(st.tuples(st.sampled_from(["ask", "leave"]), st.integers(0, 30), st.integers(1, 5)), max_size=40)
)
async def test_no_place_in_the_queue_is_lost_or_given_twice(
    visits: list[tuple[str, int, int]],
) -> None:
    bound = 6
    line = queue(bound)
    present: list[ExitStack] = []
    held: dict[ExitStack, list[Turn]] = {}
    for what, which, count in visits:
        if what == "leave" and present:
            leaving = present.pop(which % len(present))
            del held[leaving]
            leaving.close()
        elif what == "ask":
            inside = sum(map(len, held.values()))
            stack = ExitStack()
            try:
                held[stack] = stack.enter_context(line.turns(count, which % 3, "n", "ada"))
            except QueueFull:
                assert inside + count > PLACES + bound
            else:
                assert inside + count <= PLACES + bound
                present.append(stack)
        inside = sum(map(len, held.values()))
        running = [turn for turns in held.values() for turn in turns if turn.began]
        assert len(running) == min(inside, PLACES)
        assert line.waiting == inside - len(running)
    for stack in present:
        stack.close()
    with line.turns(PLACES, 0, "n", "ada") as turns:
        assert all(turn.began for turn in turns), "all places are free again"


async def test_past_the_bound_a_request_is_refused_with_the_length_of_the_queue() -> None:
    line = queue(bound=2)
    with line.turns(PLACES, 0, "n", "ada"), line.turns(2, 0, "n", "ada"):
        told = "2 answers wait for it, 2 of them yours, its queue takes 2 "
        with pytest.raises(QueueFull, match=told) as caught:
            line.turns(1, -5, "n", "ada").__enter__()
        assert caught.value.retry_after >= 1
        assert line.refused == 1
    with line.turns(PLACES + 2, 0, "n", "ada"):
        pass


async def test_a_request_that_never_fits_is_told_so() -> None:
    with pytest.raises(InvalidRequest, match="best_of makes 6 answers, and model has room for 5") as caught:
        queue(bound=2).turns(6, 0, "best_of", "ada").__enter__()
    assert caught.value.param == "best_of"


async def test_one_that_stops_waiting_leaves_the_queue_and_takes_no_place() -> None:
    line = queue()
    with (
        line.turns(PLACES, 0, "n", "ada") as running,
        line.turns(1, 0, "n", "ada") as [leaving],
        line.turns(1, 0, "n", "ada") as [staying],
    ):
        waits = asyncio.create_task(leaving.__aenter__())
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.wait([waits])
        line.leave(leaving)
        assert line.waiting == 1
        line.leave(running[0])
        async with asyncio.timeout(1), staying:
            assert line.waiting == 0


async def test_one_that_leaves_in_the_moment_its_turn_comes_passes_it_on() -> None:
    line = queue()
    with line.turns(PLACES, 0, "n", "ada") as running, line.turns(1, 0, "n", "ada") as [next_one]:
        with line.turns(1, -1, "n", "ada") as [first]:
            waits = asyncio.create_task(first.__aenter__())
            await asyncio.sleep(0)
            line.leave(running[0])
            waits.cancel()
            await asyncio.wait([waits])
        async with asyncio.timeout(1), next_one:
            pass


async def test_the_time_to_wait_follows_how_long_answers_took_lately() -> None:
    line = queue(bound=0)
    with line.turns(PLACES, 0, "n", "ada") as running:
        for turn in running:
            turn.began -= 30
        line.leave(running[0])
        with line.turns(1, 0, "n", "ada"), pytest.raises(QueueFull) as caught:
            line.turns(1, 0, "n", "ada").__enter__()
    assert 10 * 0.9 <= caught.value.retry_after <= 10 * 1.1 + 1, "an answer of 30 s ends in one of 3 places"


async def test_those_who_were_refused_before_are_counted_until_they_come_back() -> None:
    line = queue(bound=6)
    with line.turns(PLACES, 0, "n", "ada") as running, line.turns(6, 0, "n", "ada"):
        for turn in running:
            turn.began -= 30
        told = [refused(line, "ada") for _ in range(3)]
        with line.turns(9, 0, "n", "bob"):
            others = refused(line, "bob")
    # Each answer takes 30 s in one of 3 places, so one starts every 10 s.
    assert told == [pytest.approx(10 * before, rel=0.2) for before in (7, 8, 9)]
    assert others == pytest.approx(10 * (10 + 9), rel=0.2), "clients take turns"


async def test_one_that_comes_back_as_it_was_told_finds_room_though_the_queue_is_full_again() -> None:
    line = queue(bound=1)
    with line.turns(PLACES + 1, 0, "n", "ada"):
        refused(line, "ada")
        await asyncio.sleep(0.05)  # answers take no time here, so it may come at once
        with line.turns(1, 0, "n", "ada"):
            refused(line, "ada")
            await asyncio.sleep(0.05)
            refused(line, "ada")  # the room for those that come back is bounded too


def refused(line: EngineQueue, client: str) -> int:
    """The seconds that a client is told to wait."""
    with pytest.raises(QueueFull) as caught:
        line.turns(1, 0, "n", client).__enter__()
    return caught.value.retry_after


async def test_a_full_queue_of_one_client_refuses_no_other_client() -> None:
    line = queue(bound=2)
    with line.turns(PLACES + 2, 0, "n", "greedy") as greedy, line.turns(1, 0, "n", "modest") as [modest]:
        refused(line, "greedy")
        line.leave(greedy[0])
        assert modest.began, "it has the next place"
