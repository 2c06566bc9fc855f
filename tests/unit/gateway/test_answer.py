"""One answer: stop strings, usage, charges."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pieces import HEAD, Scripted, answers, request, said, shown, streamed
from support.turns import turn

from slipway.contract.errors import EngineFailed, InvalidRequest
from slipway.contract.generation import Delta, GenerationRequest, SamplingParams
from slipway.gateway.answers.answer import Listener, Piece, stream_answer
from slipway.gateway.answers.choices import collect
from slipway.gateway.completions.reply import CompletionReply
from slipway.gateway.http.sse import stream_events
from slipway.text.parts import AnswerText


async def pieces_of(backend: Scripted, *stop: str) -> list[Piece]:
    return [piece async for piece in stream_answer(backend, request(*stop), turn())]


@given(st.lists(st.text("ab가", max_size=4)), st.lists(st.text("ab가", min_size=1, max_size=4), max_size=4))
async def test_an_answer_is_what_comes_before_the_first_stop_string(
    texts: list[str], stop: list[str]
) -> None:
    full = "".join(texts)
    # (end, start) of each: the one that is complete first counts, whatever the breaks between the pieces.
    met = [(full.find(string) + len(string), full.find(string)) for string in stop if string in full]
    pieces = await pieces_of(Scripted(said(*texts, finish="length")), *stop)
    assert shown(pieces) == (full[: min(met)[1]] if met else full)
    assert pieces[-1].finish_reason == ("stop" if met else "length")
    assert all(piece.finish_reason is None for piece in pieces[:-1])
    assert all(piece.parts for piece in pieces[:-1])


async def test_a_stop_string_among_the_first_min_tokens_ends_nothing() -> None:
    least = GenerationRequest("id", "prompt", (1,), SamplingParams(max_tokens=100, min_tokens=3), ("b", "cd"))
    pieces = [
        piece async for piece in stream_answer(Scripted(said("a", "b", "c", "d", "b", "e")), least, turn())
    ]
    assert shown(pieces) == "abcd", "cd began among them and was shown already"
    assert sum(piece.tokens for piece in pieces) == 5
    assert pieces[-1].finish_reason == "stop"


async def test_a_stop_string_is_the_end_of_the_answer_where_the_client_wants_it() -> None:
    shows = GenerationRequest(
        "id", "prompt", (1,), SamplingParams(max_tokens=100), ("bc", "x"), show_stop=True
    )
    pieces = [piece async for piece in stream_answer(Scripted(said("a", "b", "cd", "e")), shows, turn())]
    assert shown(pieces) == "abc"
    assert pieces[-1].finish_reason == "stop"


async def test_prompts_are_echoed_before_their_answers() -> None:
    reply = CompletionReply(HEAD, echoes=["Once", "Then"])
    choices = answers(Scripted(said("a", "b")), Scripted(said("c")))
    sent = b"".join([event async for event in stream_events(reply, choices, 2, 1, 5)]).decode()
    chunks = [json.loads(event.removeprefix("data: ")) for event in sent.split("\n\n")[:-2]]
    texts = ["", ""]
    for chunk in chunks:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == ["Onceab", "Thenc"]


async def test_usage_adds_up_what_was_cached_of_each_prompt_once() -> None:
    told = [Delta("a", 1, cached_tokens=3), Delta(finish_reason="length")]
    silent = [Delta("a", 1), Delta(finish_reason="length")]
    for scripts, expected in (
        ([told, told, told, told], {"cached_tokens": 6}),
        ([told, silent, told, silent], {"cached_tokens": 6}),
        ([told, told, silent, told], None),
    ):
        choices = answers(*(Scripted(script) for script in scripts))
        sent = [event async for event in stream_events(CompletionReply(HEAD, True), choices, 2, 2, 5)]
        usage = json.loads(sent[-1].decode().split("\n\n")[0].removeprefix("data: "))["usage"]
        assert usage.get("prompt_tokens_details") == expected
        assert usage["completion_tokens"] == 4


async def test_a_stop_string_ends_the_generation_and_is_named() -> None:
    backend = Scripted(said("a", "b", "c", "d"))
    assert (await pieces_of(backend, "bc"))[-1] == Piece((), 2, "stop", stop="bc")
    assert backend.closed_early


async def test_tokens_that_show_nothing_are_counted() -> None:
    backend = Scripted([Delta("", 1), Delta("가", 2), Delta("", 3), Delta("", 0, finish_reason="length")])
    assert await pieces_of(backend) == [Piece((AnswerText("가"),), 3), Piece((), 3, "length")]
    [whole] = await collect(answers(backend), 1)
    assert whole.tokens == 6


async def test_tokens_are_charged_as_they_come_with_those_that_show_nothing() -> None:
    charged: list[int] = []
    listener = Listener(charge=charged.append)
    backend = Scripted([Delta("", 1), Delta("a", 2), Delta("", 3, finish_reason="length")])
    pieces = [piece async for piece in stream_answer(backend, request(), turn(), listener)]
    assert charged == [piece.tokens for piece in pieces] == [3, 3]


async def test_what_the_engine_refuses_of_a_checked_request_is_its_grammar() -> None:
    backend = Scripted([], InvalidRequest("The grammar is bad.", "grammar"))
    listener = Listener(grammar_source="text.format")
    with pytest.raises(InvalidRequest, match="is bad") as caught:
        await anext(stream_answer(backend, request(), turn(), listener))
    assert caught.value.param == "text.format"


async def test_usage_says_what_was_cached_where_the_backend_does() -> None:
    deltas = [Delta("a", 1, cached_tokens=3), Delta("b", 1), Delta(finish_reason="length")]
    [whole] = await collect(answers(Scripted(deltas)), 1)
    assert whole.cached_tokens == 3
    told = (await streamed(CompletionReply(HEAD, True), deltas))[-1]["usage"]
    assert told["prompt_tokens_details"] == {"cached_tokens": 3}
    untold = (await streamed(CompletionReply(HEAD, True), said("a")))[-1]["usage"]
    assert "prompt_tokens_details" not in untold


@pytest.mark.parametrize("deltas", [[Delta("a", 1)], said("a", finish="cancelled")])
async def test_an_answer_without_a_true_end_is_an_error(deltas: list[Delta]) -> None:
    with pytest.raises(EngineFailed):
        await pieces_of(Scripted(deltas))
