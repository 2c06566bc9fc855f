"""Log-probabilities beside the text that they belong to, without a server."""

import json
from collections.abc import AsyncGenerator, Sequence
from math import inf, nan

from hypothesis import given
from hypothesis import strategies as st
from support.turns import turn

from slipway.contract.generation import Delta, GenerationRequest, SamplingParams, TopLogProbs
from slipway.gateway.answers.answer import Listener, Piece, stream_answer
from slipway.gateway.answers.choices import collect
from slipway.gateway.answers.log_probs import LogProbs
from slipway.gateway.chat.reply import ChatReply
from slipway.gateway.completions.reply import CompletionReply
from slipway.gateway.shapes.reply import Head, Reply
from slipway.gateway.shapes.usage import Usage
from slipway.text.detokenizer import Detokenizer
from slipway.text.padding import Unpadder
from slipway.text.tokenizer import Tokenizer

TEXT = "한국어 and emoji 😀, <|im_end|> then more."
HEAD = Head(id="x", model="m", created=1)


class Scripted:
    """Yields tokens in steps of a given size, as a backend does: each has a log-probability of its own."""

    stats = None

    def __init__(self, tokenizer: Tokenizer, ids: Sequence[int], steps: Sequence[int]) -> None:
        self._detokenizer = Detokenizer(tokenizer)
        self._ids, self._steps = list(ids), list(steps)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        place = 0
        for step in [*self._steps, len(self._ids)]:
            ids = tuple(self._ids[place : place + step])
            if ids:
                log_probs = tuple(-float(place + i) for i in range(len(ids)))
                yield Delta(self._detokenizer.push(ids), len(ids), ids, log_probs)
            place += step
        yield Delta(finish_reason="length")

    async def check(self) -> None: ...

    async def close(self) -> None: ...


def request(*stop: str) -> GenerationRequest:
    return GenerationRequest("id", "prompt", (1,), SamplingParams(max_tokens=100, log_probs=True), stop)


def told(backend: "Scripted | Fixed", tokenizer: Tokenizer, *stop: str) -> AsyncGenerator[Piece, None]:
    """An answer whose client asked for log-probabilities."""
    return stream_answer(backend, request(*stop), turn(), Listener(log_probs=LogProbs(tokenizer, Unpadder())))


async def pieces_of(
    tokenizer: Tokenizer, ids: Sequence[int], steps: Sequence[int], *stop: str
) -> list[Piece]:
    backend = Scripted(tokenizer, ids, steps)
    return [
        piece
        async for piece in stream_answer(
            backend, request(*stop), turn(), Listener(log_probs=LogProbs(tokenizer, Unpadder()))
        )
    ]


def text_of(pieces: Sequence[Piece]) -> str:
    return "".join(part.text for piece in pieces for part in piece.parts)  # type: ignore[union-attr]


@given(
    st.lists(st.integers(1, 4), max_size=40),
    st.sampled_from(["", "어", " emoji", "ji 😀", "nd e", ", then", "n m", "."]),
    st.integers(0, 40),
)
async def test_tokens_are_told_with_their_text_and_never_past_a_stop_string(
    tokenizer: Tokenizer, steps: list[int], stop: str, count: int
) -> None:
    ids = tokenizer.encode(TEXT)[:count]
    pieces = await pieces_of(tokenizer, ids, steps, *([stop] if stop else []))
    told, shown = [each for piece in pieces for each in piece.chosen], ""
    assert [each.chosen.log_prob for each in told] == [-float(i) for i in range(len(told))]
    assert [each.chosen.bytes for each in told] == [tokenizer.vocabulary.join([i]) for i in ids[: len(told)]]
    for piece in pieces[:-1]:
        shown += text_of([piece])
        assert all(each.offset < len(shown) for each in piece.chosen), "no token before its text"
    text = text_of(pieces)
    if pieces[-1].finish_reason == "stop":
        assert all(each.offset < len(text) for each in told)
        # What is shown is covered, and at most the token in which the stop string begins reaches past it.
        assert b"".join(each.chosen.bytes for each in told).decode(errors="replace").startswith(text)
        assert not told or text.startswith(tokenizer.decode(ids[: len(told) - 1]))
    else:
        assert len(told) == len(ids)
    for each in told:
        if not each.chosen.token.startswith(("bytes:", "<|")):
            assert text[each.offset :].startswith(each.chosen.token) or each is told[-1]


def test_a_token_is_spelled_by_its_text_its_bytes_or_its_name(tokenizer: Tokenizer) -> None:
    spelled = [tokenizer.spell(token) for token in tokenizer.encode("Paris😀<|im_end|>")]
    assert (spelled[0], spelled[-1]) == ("Paris", "<|im_end|>")
    emoji = spelled[1:-1]
    assert len(emoji) > 1
    assert all(each.startswith("bytes:") for each in emoji)
    assert "".join(emoji).replace("bytes:", "") == r"\xf0\x9f\x98\x80"
    assert tokenizer.spell(10**6) == "token_id:1000000", "logits are padded"


class Fixed(Scripted):
    def __init__(self, deltas: Sequence[Delta]) -> None:
        self._deltas = deltas

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        for delta in self._deltas:
            yield delta


def deltas(tokenizer: Tokenizer) -> list[Delta]:
    [a], [b], end = tokenizer.encode(" a"), tokenizer.encode(" b"), tokenizer.eos_token_id
    assert end is not None
    top = TopLogProbs((b, end), (-0.5, -inf))
    return [Delta(" a b", 2, (a, b), (nan, -0.5), None, (top, top)), Delta(finish_reason="stop")]


def said(reply: Reply, pieces: Sequence[Piece]) -> list[dict[str, object]]:
    events = b"".join(reply.piece(piece) for piece in pieces).decode().split("\n\n")
    return [json.loads(event.removeprefix("data: "))["choices"][0] for event in events if event]


async def test_a_chat_tells_them_in_openais_shape_whole_and_streamed(tokenizer: Tokenizer) -> None:
    backend = Fixed(deltas(tokenizer))
    [whole] = await collect(told(backend, tokenizer), 1)
    body = ChatReply(HEAD).body([whole], Usage.of(1, 2, [])).model_dump_json(exclude_unset=True)
    likeliest = [
        {"token": " b", "logprob": -0.5, "bytes": [32, 98]},
        {"token": "<|im_end|>", "logprob": -9999.0, "bytes": []},
    ]
    expected = {
        "content": [
            {"token": " a", "logprob": -9999.0, "bytes": [32, 97], "top_logprobs": likeliest},
            {"token": " b", "logprob": -0.5, "bytes": [32, 98], "top_logprobs": likeliest},
        ],
        "refusal": None,
    }
    assert json.loads(body)["choices"][0]["logprobs"] == expected
    pieces = [piece async for piece in told(backend, tokenizer)]
    assert [chunk["logprobs"] for chunk in said(ChatReply(HEAD), pieces)] == [expected, None]


async def test_a_completion_tells_them_in_openais_shape_whole_and_streamed(tokenizer: Tokenizer) -> None:
    backend = Fixed(deltas(tokenizer))
    [whole] = await collect(told(backend, tokenizer), 1)
    body = CompletionReply(HEAD).body([whole], Usage.of(1, 2, [])).model_dump_json(exclude_unset=True)
    expected = {
        "tokens": [" a", " b"],
        "token_logprobs": [-9999.0, -0.5],
        "top_logprobs": [
            {" b": -0.5, "<|im_end|>": -9999.0, " a": -9999.0},
            {" b": -0.5, "<|im_end|>": -9999.0},
        ],
        "text_offset": [0, 2],
    }
    assert json.loads(body)["choices"][0]["logprobs"] == expected
    pieces = [piece async for piece in told(backend, tokenizer)]
    assert [chunk["logprobs"] for chunk in said(CompletionReply(HEAD), pieces)] == [expected, None]


async def test_without_logprobs_in_the_request_the_answer_has_none(tokenizer: Tokenizer) -> None:
    pieces = [piece async for piece in stream_answer(Fixed(deltas(tokenizer)), request(), turn())]
    assert [chunk["logprobs"] for chunk in said(ChatReply(HEAD), pieces)] == [None, None]
