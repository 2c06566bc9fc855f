"""Random answers as hypothesis draws them, and official clients that read an answer without a network."""

import json

import httpx2
from anthropic import Anthropic
from hypothesis import strategies as st
from openai import OpenAI

from slipway.gateway.answers.answer import Answer, Piece
from slipway.gateway.answers.interpretation import Finish
from slipway.gateway.shapes.reply import Reply
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerReasoning, AnswerText, CallArguments, CallStart, Part

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
_KEYS = st.sampled_from(["type", "role", "content", "text", "name", "format", "schema", "input", "message"])
ARGUMENTS = st.dictionaries(TEXT, st.none() | st.integers(-9, 9) | TEXT, max_size=3)


@st.composite
def _block(draw: st.DrawFn, call: int) -> list[Part]:
    kind = draw(st.sampled_from(["text", "reasoning", "call"]))
    whole = json.dumps(draw(ARGUMENTS)) if kind == "call" else draw(TEXT)
    cut = draw(st.integers(0, len(whole)))
    texts = [text for text in (whole[:cut], whole[cut:]) if text]
    if kind == "call":
        return [CallStart(call, "tool"), *(CallArguments(call, text) for text in texts)]
    return [AnswerText(text) if kind == "text" else AnswerReasoning(text) for text in texts]


@st.composite
def answers(draw: st.DrawFn) -> list[Piece]:
    """The pieces of an answer of several blocks, cut anywhere; a piece has one token or more."""
    parts: list[Part] = []
    calls = 0
    for _ in range(draw(st.integers(0, 5))):
        block = draw(_block(calls))
        calls += isinstance(block[0], CallStart)
        parts += block
    pieces = []
    while parts:
        count = draw(st.integers(1, 3))
        pieces.append(Piece(tuple(parts[:count]), draw(st.integers(1, 3))))
        parts = parts[count:]
    finish: Finish = draw(st.sampled_from(["stop", "length", "tool_calls"]))
    stop = draw(st.sampled_from([None, "\n\n", "END"])) if finish == "stop" else None
    return [
        *pieces,
        Piece((), draw(st.integers(0, 2)), finish, draw(st.sampled_from([None, 0, 3])), stop=stop),
    ]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | _KEYS, inner, max_size=3),
    max_leaves=10,
)

PROMPT_TOKENS = 9


def streamed(reply: Reply, pieces: list[Piece]) -> bytes:
    """The bytes of a stream, with a keep-alive after each piece."""
    sent = [reply.opening(1), *(reply.piece(piece) + reply.keep_alive() for piece in pieces)]
    return b"".join([*sent, reply.closing(_usage(pieces))])


def whole(reply: Reply, pieces: list[Piece]) -> bytes:
    answer = Answer()
    for piece in pieces:
        answer.add(piece)
    return reply.body([answer], _usage(pieces)).model_dump_json(exclude_unset=True).encode()


def _usage(pieces: list[Piece]) -> Usage:
    return Usage.of(PROMPT_TOKENS, sum(piece.tokens for piece in pieces), [pieces[-1].cached_tokens])


def _playing(body: bytes) -> httpx2.Client:
    kind = "application/json" if body.startswith(b"{") else "text/event-stream"

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": kind})

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def anthropic_client(body: bytes) -> Anthropic:
    """The official client; each of its requests gets `body`."""
    return Anthropic(api_key="none", base_url="http://answer", http_client=_playing(body), max_retries=0)


def openai_client(body: bytes) -> OpenAI:
    """The official client; each of its requests gets `body`."""
    return OpenAI(api_key="none", base_url="http://answer", http_client=_playing(body), max_retries=0)
