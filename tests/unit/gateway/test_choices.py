"""Several answers to one request, without a server. The backend is scripted: its deltas are the input of what
is tested here."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.turns import turn

from slipway.contract.errors import EngineFailed
from slipway.contract.generation import Delta, GenerationRequest, SamplingParams
from slipway.gateway.answers.answer import Answer, Piece, stream_answer
from slipway.gateway.answers.blocks import Block
from slipway.gateway.answers.choices import best, candidates, collect, merge
from slipway.text.parts import AnswerText


class Scripted:
    """Plays each request's deltas, with turns of the event loop before each; None is a failure."""

    stats = None

    def __init__(self, scripts: Mapping[str, Sequence[tuple[Delta | None, int]]]) -> None:
        self.scripts = scripts
        self.started: list[str] = []
        self.running: set[str] = set()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        self.started.append(request.request_id)
        self.running.add(request.request_id)
        try:
            for delta, turns in self.scripts[request.request_id]:
                for _ in range(turns):
                    await asyncio.sleep(0)
                if delta is None:
                    raise EngineFailed("The engine died.")
                yield delta
        finally:
            await asyncio.sleep(0)
            self.running.discard(request.request_id)

    async def check(self) -> None: ...

    async def close(self) -> None: ...


def asked(seed: int | None = None) -> GenerationRequest:
    return GenerationRequest("id", "prompt", (1, 2), SamplingParams(max_tokens=100, seed=seed))


def answers(backend: Scripted, count: int) -> AsyncGenerator[Piece, None]:
    requests = candidates(asked(), count, ranked=False)
    streams = (stream_answer(backend, each, turn(), index=at) for at, each in enumerate(requests))
    return merge(list(streams))


def ids(count: int) -> list[str]:
    return [each.request_id for each in candidates(asked(), count, ranked=False)]


steps = st.lists(st.tuples(st.text("ab가", min_size=1, max_size=3), st.integers(0, 4)), max_size=5)


@given(st.lists(st.tuples(steps, st.integers(0, 4)), min_size=1, max_size=6))
async def test_each_choice_gets_its_own_text_in_order_however_answers_interleave(
    scripts: list[tuple[list[tuple[str, int]], int]],
) -> None:
    count = len(scripts)
    backend = Scripted(
        {
            name: [*((Delta(text, 1), turns) for text, turns in texts), (Delta(finish_reason="stop"), pause)]
            for name, (texts, pause) in zip(ids(count), scripts, strict=True)
        }
    )
    come = [piece async for piece in answers(backend, count)]
    assert backend.started == ids(count), "the first leads: the others find its prompt"
    for index, (texts, _) in enumerate(scripts):
        pieces = [piece for piece in come if piece.index == index]
        assert [piece.parts for piece in pieces[:-1]] == [(AnswerText(text),) for text, _ in texts]
        assert [piece.finish_reason for piece in pieces] == [None] * len(texts) + ["stop"]
    assert not backend.running


async def test_one_failure_is_one_error_and_ends_the_others() -> None:
    endless = [(Delta("a", 1), 1)] * 100_000
    backend = Scripted(dict.fromkeys(ids(4), endless) | {ids(4)[2]: [(Delta("b", 1), 1), (None, 3)]})
    with pytest.raises(EngineFailed, match="died"):
        await collect(answers(backend, 4), 4)
    assert len(backend.started) == 4
    assert not backend.running


async def test_an_engine_that_fails_all_answers_is_one_error(caplog: pytest.LogCaptureFixture) -> None:
    backend = Scripted({name: [(Delta("b", 1), 1), (None, 1)] for name in ids(4)})
    with pytest.raises(EngineFailed, match="died"):
        await collect(answers(backend, 4), 4)
    assert not backend.running
    gc.collect()  # asyncio complains about failures that were never retrieved
    assert not caplog.records


async def test_a_listener_that_leaves_ends_all_answers() -> None:
    backend = Scripted(dict.fromkeys(ids(4), [(Delta("a", 1), 1)] * 100_000))
    async with aclosing(answers(backend, 4)) as pieces:
        async for piece in pieces:
            if piece.index == 3:
                break
        assert len(backend.running) == 4
    assert not backend.running


@given(st.none() | st.integers(0, 2**64 - 1), st.integers(1, 128))
def test_seeds_count_up_from_the_requests_and_ids_differ(seed: int | None, count: int) -> None:
    first, *others = requests = candidates(asked(seed), count, ranked=False)
    assert first == asked(seed)
    assert len({each.request_id for each in requests}) == count
    for index, each in enumerate(others, 1):
        assert each.sampling.seed == (None if seed is None else (seed + index) % 2**64)
        assert each.prompt_token_ids == first.prompt_token_ids


def test_the_best_have_the_highest_mean_log_probability_per_token() -> None:
    long, short, none = (
        Answer([Block("text", "long")], tokens=10, log_prob=-2.0),
        Answer([Block("text", "short")], tokens=2, log_prob=-1.0),
        Answer(),
    )
    likeliest, equal = (
        Answer([Block("text", "likeliest")], tokens=4, log_prob=-0.4),
        Answer([Block("text", "equal")], tokens=5, log_prob=-1.0),
    )
    assert best([none, short, long, likeliest, equal], 5) == [likeliest, long, equal, short, none]
    assert best([short, long, likeliest], 2) == [likeliest, long]
    assert all(each.sampling.log_probs for each in candidates(asked(), 3, ranked=True))
