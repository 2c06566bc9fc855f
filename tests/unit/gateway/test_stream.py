"""From a backend's deltas to what a client reads, without a server. The backend is scripted: its deltas are
the input of what is tested here."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pieces import HEAD, Scripted, answers, said, streamed

from slipway.contract.errors import EngineFailed
from slipway.contract.generation import Delta
from slipway.gateway.answers.answer import Piece
from slipway.gateway.answers.choices import collect, merge
from slipway.gateway.chat.reply import ChatReply
from slipway.gateway.completions.reply import CompletionReply
from slipway.gateway.errors import ServerStopping
from slipway.gateway.http.connection import ClientLeft, run_until_disconnect
from slipway.gateway.http.deadline import Deadline
from slipway.gateway.http.sse import EventStream, stream_events
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerReasoning, AnswerText


async def test_a_chat_stream_is_role_texts_finish_reason() -> None:
    chunks = await streamed(ChatReply(HEAD), said("a\n\nb", "data: c"))
    frame = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    assert all(frame.items() <= chunk.items() for chunk in chunks)
    assert [chunk["choices"][0] for chunk in chunks] == [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        for delta, finish in [
            ({"role": "assistant", "content": ""}, None),
            ({"content": "a\n\nb"}, None),
            ({"content": "data: c"}, None),
            ({}, "stop"),
        ]
    ]
    assert all("usage" not in chunk for chunk in chunks)


async def test_who_asks_for_a_tier_hears_that_there_is_one() -> None:
    chunks = await streamed(ChatReply(HEAD, tier="default"), said("a"))
    assert {chunk["service_tier"] for chunk in chunks} == {"default"}
    chunks = await streamed(ChatReply(HEAD), said("a"))
    assert all("service_tier" not in chunk for chunk in chunks)


async def test_a_completion_stream_is_texts_and_finish_reason() -> None:
    chunks = await streamed(CompletionReply(HEAD), said("a", "b", finish="length"))
    assert [(chunk["choices"][0]["text"], chunk["choices"][0]["finish_reason"]) for chunk in chunks] == [
        ("a", None),
        ("b", None),
        ("", "length"),
    ]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}


@given(st.text(min_size=1), st.text(min_size=1), st.integers(0, 2), st.booleans())
def test_a_text_that_comes_alone_makes_the_event_that_it_makes_among_others(
    first: str, second: str, index: int, with_usage: bool
) -> None:
    for reply in (ChatReply(HEAD, with_usage), CompletionReply(HEAD, with_usage)):
        alone = [reply.piece(Piece((AnswerText(text),), 1, index=index)) for text in (first, second)]
        assert b"".join(alone) == reply.piece(Piece((AnswerText(first), AnswerText(second)), 2, index=index))


@pytest.mark.parametrize("shape", [ChatReply, CompletionReply])
async def test_usage_comes_last_with_no_choices(shape: type[ChatReply] | type[CompletionReply]) -> None:
    *chunks, last = await streamed(shape(HEAD, with_usage=True), said("a", "b"))
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


@pytest.mark.parametrize("shape", [ChatReply, CompletionReply])
async def test_each_chunk_says_the_usage_of_its_answer_so_far(
    shape: type[ChatReply] | type[CompletionReply],
) -> None:
    choices = answers(*(Scripted(script) for script in (said("a", "b"), said("c"))))
    reply = shape(HEAD, with_usage=True, prompts=[5, 3])
    sent = b"".join([event async for event in stream_events(reply, choices, 2, 1, 8)]).decode()
    chunks = [json.loads(event.removeprefix("data: ")) for event in sent.split("\n\n")[:-2]]
    told: dict[int, list[tuple[int, int, int]]] = {0: [], 1: []}
    for chunk in chunks[:-1]:
        told[chunk["choices"][0]["index"]].append(tuple(chunk["usage"].values()))
    role = [(5, 0, 5)], [(3, 0, 3)]
    opened = role if shape is ChatReply else ([], [])
    assert told == {
        0: [*opened[0], (5, 1, 6), (5, 2, 7), (5, 2, 7)],
        1: [*opened[1], (3, 1, 4), (3, 1, 4)],
    }
    assert chunks[-1]["usage"] == {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}


async def test_usage_says_how_many_tokens_were_thoughts_streamed_or_not() -> None:
    pieces = [Piece((AnswerReasoning("hm"),), 3), Piece((AnswerText("a"),), 2), Piece((), 0, "stop")]

    async def said_twice() -> AsyncGenerator[Piece, None]:
        for index in (0, 1):
            for piece in pieces:
                yield replace(piece, index=index)

    sent = [event async for event in stream_events(ChatReply(HEAD, True), said_twice(), 1, 2, 5)]
    streamed = json.loads(sent[-1].decode().split("\n\n")[0].removeprefix("data: "))["usage"]
    answers = await collect(said_twice(), 2)
    whole = ChatReply(HEAD).body(answers, Usage.of(5, 10, [])).usage.model_dump(exclude_unset=True)
    assert streamed == whole
    assert whole["completion_tokens_details"] == {"reasoning_tokens": 6}
    thoughtless = ChatReply(HEAD).body(await collect(merge([]), 0), Usage.of(5, 1, []))
    assert "completion_tokens_details" not in thoughtless.usage.model_fields_set


def within(seconds: float) -> Deadline:
    return Deadline(time.monotonic(), seconds)


async def sent_by(
    backend: Scripted,
    stopping: asyncio.Event,
    leaves: asyncio.Event,
    keep_alive_s: float = 60,
    timeout_s: float = 60,
    hears: Callable[[bytes], None] = lambda body: None,
) -> list[dict[str, Any]]:
    """What an EventStream gives to the server."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        hears(message.get("body", b""))

    choices = answers(backend)
    reply = ChatReply(HEAD)
    sent_events = stream_events(reply, choices, 1, 1, 5)
    stream = EventStream(reply, sent_events, stopping, within(timeout_s), keep_alive_s)
    await stream({"type": "http"}, receive, send)
    return sent


async def test_an_error_in_the_middle_is_the_last_event_of_the_stream() -> None:
    backend = Scripted([Delta("a", 1)], EngineFailed("The engine died."))
    sent = await sent_by(backend, asyncio.Event(), asyncio.Event())
    last = sent[-1]["body"].decode()
    assert json.loads(last.removeprefix("data: "))["error"]["message"] == "The engine died."
    assert sent[-1]["more_body"] is False
    assert not any(b"[DONE]" in message.get("body", b"") for message in sent)


async def test_a_client_that_leaves_ends_the_generation() -> None:
    backend = Scripted([Delta("a", 1)] * 1_000_000)
    leaves = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, leaves.set)
    await sent_by(backend, asyncio.Event(), leaves)
    assert backend.closed_early


async def test_a_stream_says_something_while_the_prompt_is_read_and_nothing_else_when_tokens_come() -> None:
    twice = asyncio.Event()
    heard: list[bytes] = []

    def hears(body: bytes) -> None:
        heard.append(body)
        if heard.count(b": keep-alive\n\n") == 2:
            twice.set()

    backend = Scripted(said("a", "b"), first_after=twice)
    sent = await sent_by(backend, asyncio.Event(), asyncio.Event(), keep_alive_s=0.05, hears=hears)
    role, *beats, first, second, _, done, end = [message["body"] for message in sent[1:]]
    assert b"assistant" in role
    assert set(beats) == {b": keep-alive\n\n"}
    assert len(beats) >= 2
    assert b'"a"' in first
    assert b'"b"' in second
    assert (done, end) == (b"data: [DONE]\n\n", b"")


async def test_a_client_that_leaves_a_silent_stream_is_noticed_between_two_beats() -> None:
    backend = Scripted(said("a"), first_after_s=60)
    leaves = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, leaves.set)
    async with asyncio.timeout(10):
        sent = await sent_by(backend, asyncio.Event(), leaves, keep_alive_s=30)
    assert not any(b"keep-alive" in message.get("body", b"") for message in sent)
    assert backend.closed_early


async def test_a_server_that_stops_tells_its_streams() -> None:
    backend = Scripted([Delta("a", 1)] * 1_000_000)
    stopping = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, stopping.set)
    sent = await sent_by(backend, stopping, asyncio.Event())
    assert b"server_stopping" in sent[-1]["body"]
    assert backend.closed_early


async def test_a_deadline_ends_the_generation_and_is_the_last_event() -> None:
    backend = Scripted([Delta("a", 1)] * 1_000_000)
    sent = await sent_by(backend, asyncio.Event(), asyncio.Event(), timeout_s=0.05)
    error = json.loads(sent[-1]["body"].decode().removeprefix("data: "))["error"]
    assert error["code"] == "deadline_exceeded"
    assert not sent[-1]["more_body"]
    assert backend.closed_early


async def test_work_is_over_before_its_end_is_sent() -> None:
    cleaned = False

    async def work() -> None:
        nonlocal cleaned
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned = True

    async def leaves_at_once() -> None: ...

    with pytest.raises(ClientLeft):
        await run_until_disconnect(work(), asyncio.Event(), within(60), leaves_at_once())
    assert cleaned
    stopping = asyncio.Event()
    stopping.set()
    with pytest.raises(ServerStopping):
        await run_until_disconnect(asyncio.sleep(60), stopping, within(60))
