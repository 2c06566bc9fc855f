"""Responses are kept within bounds, those used last the longest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from slipway.gateway.errors import ResponseNotFound
from slipway.gateway.query import Message
from slipway.gateway.responses.store import ResponseStore, StoredResponse


def kept(size: int, owner: str | None = None) -> StoredResponse:
    return StoredResponse(b"x" * size, (Message("user", "Hi"),), owner)


def size(response: StoredResponse) -> int:
    return len(response.body) + len(to_json(response.messages))


def has(store: ResponseStore, name: str) -> bool:
    try:
        store.get(name)
    except ResponseNotFound:
        return False
    return True


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 200)), max_size=30))
def test_neither_their_number_nor_their_size_grows_past_the_bounds(puts: list[tuple[str, int]]) -> None:
    store = ResponseStore(max_responses=3, max_bytes=500)
    latest = {}
    for name, length in puts:
        latest[name] = kept(length)
        store.put(name, latest[name])
        there = [response for name, response in latest.items() if has(store, name)]
        assert len(there) <= 3
        assert sum(map(size, there)) <= 500
        assert has(store, name)


def test_the_one_used_longest_ago_goes_first() -> None:
    store = ResponseStore(max_responses=2)
    store.put("a", kept(1))
    store.put("b", kept(1))
    store.get("a")
    store.put("c", kept(1))
    assert [has(store, name) for name in "abc"] == [True, False, True]


def test_one_that_is_larger_than_the_store_is_not_kept() -> None:
    store = ResponseStore(max_bytes=100)
    store.put("a", kept(101))
    assert not has(store, "a")


def test_what_is_deleted_makes_room() -> None:
    store = ResponseStore(max_bytes=size(kept(50)))
    for _ in range(3):
        store.put("a", kept(50))
        store.delete("a")
        assert not has(store, "a")
    with pytest.raises(ResponseNotFound, match="previous_response_id is 'a'") as caught:
        store.get("a", param="previous_response_id")
    assert caught.value.param == "previous_response_id"


def test_only_its_owner_sees_it() -> None:
    store = ResponseStore()
    store.put("a", kept(1, owner="tom"))
    assert store.get("a", owner="tom")
    assert not has(store, "a")
    with pytest.raises(ResponseNotFound):
        store.delete("a", owner="ann")
