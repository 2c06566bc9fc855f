"""How many bytes of bodies one client may have in memory, and all together."""

from contextlib import ExitStack

import pytest

from slipway.gateway.errors import ServerBusy
from slipway.gateway.http.body_memory import SMALL_BODY, BodyMemory

MOST = 10 * SMALL_BODY


def test_one_client_has_half_and_leaves_the_rest_to_others() -> None:
    memory = BodyMemory(MOST)
    with memory.share("greedy") as first, memory.share("greedy") as second, memory.share("other") as third:
        first(3 * SMALL_BODY)
        second(2 * SMALL_BODY)
        with pytest.raises(ServerBusy, match="of this client's requests"):
            second(3 * SMALL_BODY)
        third(5 * SMALL_BODY)
        with memory.share("third") as fourth, pytest.raises(ServerBusy, match="bodies of all requests"):
            fourth(2 * SMALL_BODY)


def test_a_small_body_always_has_room() -> None:
    memory = BodyMemory(SMALL_BODY)
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(memory.share("ada"))(SMALL_BODY)


def test_the_bytes_of_a_request_that_is_over_are_free() -> None:
    memory = BodyMemory(MOST)
    for _ in range(9):
        with memory.share("ada") as hold:
            for length in (1, 2 * SMALL_BODY, 5 * SMALL_BODY):
                hold(length)
