"""Clients share places: who gets the next one."""

from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from slipway.gateway.fair_queue import FairQueue, Ticket

PLACES = 3
# A client that asks for tickets, or the end of one that runs.
STEPS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(1, 5)) | st.integers(0, PLACES - 1), max_size=60
)


class Line:
    """A queue and what happened in it.

    starving: for each client that waits and has no place, the places that others got meanwhile.
    """

    def __init__(self, reserve: int = 0, always: bool = False) -> None:
        self.queue = FairQueue(PLACES, reserve, always)
        self.running: list[Ticket] = []
        self.waiting: list[Ticket] = []
        self.starving: dict[str, Counter[str]] = {}
        self._arrivals = count()

    def ask(self, client: str, tickets: int) -> None:
        asked = [Ticket(self.queue.leave, client, (0, next(self._arrivals))) for _ in range(tickets)]
        self.waiting += asked
        self.queue.join(asked)
        self._see()

    def end(self, index: int) -> None:
        if index < len(self.running):
            self.queue.leave(self.running.pop(index))
            self._see()

    def _see(self) -> None:
        granted = [ticket for ticket in self.waiting if ticket.began]
        self.running += granted
        self.waiting = [ticket for ticket in self.waiting if not ticket.began]
        without = {each.client for each in self.waiting} - {each.client for each in self.running}
        self.starving = {client: self.starving.get(client, Counter()) for client in without}
        for meanwhile in self.starving.values():
            meanwhile.update(each.client for each in granted)


@given(STEPS)
def test_no_client_gets_two_places_before_one_that_waits_and_has_none(
    steps: list[tuple[str, int] | int],
) -> None:
    line = Line()
    for step in steps:
        line.end(step) if isinstance(step, int) else line.ask(*step)
        for meanwhile in line.starving.values():
            assert max(meanwhile.values(), default=0) <= 1
        assert not line.waiting or len(line.running) == PLACES, "no place stays empty"
        assert {*line.queue.running} == {*line.running}
        assert line.queue.waiting == Counter(ticket.client for ticket in line.waiting)


@given(st.integers(1, 5), st.integers(1, 30))
def test_a_modest_client_gets_every_second_place_beside_a_greedy_one(modest: int, greedy: int) -> None:
    line = Line()
    line.ask("greedy", PLACES + greedy)
    line.ask("modest", modest)
    order = []
    while line.waiting:
        before = {*line.running}
        line.end(0)
        order += [ticket.client for ticket in line.running if ticket not in before]
    both = order[: 2 * min(modest, greedy)]
    # It has none at first, so it is ahead until both have the same.
    assert both.count("modest") >= len(both) // 2


def test_a_place_can_be_kept_at_any_time() -> None:
    line = Line(reserve=1, always=True)
    line.ask("greedy", 9)
    assert len(line.running) == PLACES - 1
    line.ask("modest", 2)
    assert [ticket.client for ticket in line.running] == ["greedy"] * (PLACES - 1) + ["modest"]


def test_one_client_alone_has_all_places_and_leaves_some_while_another_is_here() -> None:
    line = Line(reserve=1)
    line.ask("greedy", 9)
    assert len(line.running) == PLACES
    line.ask("modest", 1)
    line.end(0)
    line.end(0)
    assert [ticket.client for ticket in line.running].count("greedy") == PLACES - 1
    modest = [ticket.client for ticket in line.running].index("modest")
    line.end(modest)
    assert [ticket.client for ticket in line.running] == ["greedy"] * (PLACES - 1), "one is kept for a while"
    line.ask("modest", 1)
    assert line.running[-1].client == "modest", "at once"
