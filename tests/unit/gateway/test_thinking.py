"""How much a model thinks: what clients ask, what templates know, and a thought that is ended."""

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from support.prompters import prompter, prompter_of, requests
from support.turns import turn

from slipway.contract.generation import Delta, GenerationRequest, SamplingParams
from slipway.gateway.answers.answer import Answer, Listener, Piece, stream_answer
from slipway.gateway.answers.thought_limit import ThoughtLimit
from slipway.gateway.backends.base import Backend
from slipway.gateway.chat.reply import ChatReply
from slipway.gateway.chat.schema import ChatCompletionRequest
from slipway.gateway.messages.schema import MessagesRequest
from slipway.gateway.prompter import Prompter
from slipway.gateway.query import Conversation, Query
from slipway.gateway.responses.schema import ResponsesRequest
from slipway.gateway.shapes.parsing import parse
from slipway.gateway.shapes.reply import Head
from slipway.text.parts import AnswerReasoning, AnswerText
from slipway.text.tokenizer import Tokenizer

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 200}
EFFORTS = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{% if reasoning_effort not in ['none', 'high'] %}{{ raise_exception('no such effort') }}{% endif %}"
    "[{{ reasoning_effort }}]"
)
BUDGETS = "{% for m in messages %}{{ m.content }}{% endfor %}[{{ thinking_budget }}]</think>"


def chat(**fields: Any) -> Query:
    return parse(json.dumps(ASKED | fields).encode(), ChatCompletionRequest).query()


def messages(**fields: Any) -> Query:
    return parse(json.dumps(ASKED | fields).encode(), MessagesRequest).query()


def responses(**fields: Any) -> Query:
    body = parse(json.dumps({"model": "m", "input": "Hi", **fields}).encode(), ResponsesRequest)
    return body.query((), body.said())


def ignored(asked: Query, by: Prompter) -> list[str]:
    return [asked.named(field) for field in by.thinking(asked).ignored]


@pytest.mark.parametrize(
    "asked",
    [
        chat(reasoning_effort="none"),
        responses(reasoning={"effort": "none"}),
        messages(thinking={"type": "disabled"}),
    ],
)
def test_thinking_is_switched_off_as_the_template_knows_it_or_ended_before_it_begins(
    tmp_path: Path, asked: Query
) -> None:
    switched = prompter(tmp_path, "qwen3")
    [request] = requests(switched, asked)
    assert request.prompt.endswith("<think>\n\n</think>\n\n")
    assert switched.thought_limit(asked, request) is None
    ended = prompter(tmp_path, "qwq")
    [request] = requests(ended, asked)
    limit = ended.thought_limit(asked, request)
    assert limit is not None
    assert limit.tokens == 0
    for by in (switched, ended, prompter(tmp_path, "llama-3")):
        assert not ignored(asked, by)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (chat(reasoning_effort="medium"), "reasoning_effort"),
        (responses(reasoning={"effort": "xhigh"}), "reasoning.effort"),
        (messages(output_config={"effort": "low"}), "output_config.effort"),
    ],
)
def test_an_effort_that_the_template_does_not_know_is_named_and_passed_over(
    tmp_path: Path, asked: Query, field: str
) -> None:
    for family in ("qwq", "qwen3", "llama-3"):
        by = prompter(tmp_path, family)
        requests(by, asked)
        assert ignored(asked, by) == [field]


@pytest.mark.parametrize(
    ("effort", "shown"), [("none", "none"), ("high", "high"), ("medium", "high"), ("max", "high")]
)
def test_an_effort_becomes_the_nearest_that_the_template_takes(
    tmp_path: Path, effort: str, shown: str
) -> None:
    by = prompter_of(tmp_path, EFFORTS)
    asked = chat(reasoning_effort=effort)
    [request] = requests(by, asked)
    assert request.prompt == f"Hi[{shown}]"
    assert not ignored(asked, by)
    low = chat(reasoning_effort="low")
    assert ignored(low, by) == ["reasoning_effort"]


def test_what_the_client_says_to_the_template_itself_wins(tmp_path: Path) -> None:
    asked = chat(reasoning_effort="none", chat_template_kwargs={"enable_thinking": True})
    [request] = requests(prompter(tmp_path, "qwen3"), asked)
    assert not request.prompt.endswith("</think>\n\n")


def test_a_budget_limits_the_thought_of_models_that_think(tmp_path: Path) -> None:
    asked = messages(thinking={"type": "enabled", "budget_tokens": 64})
    by = prompter(tmp_path, "qwq")
    [request] = requests(by, asked)
    limit = by.thought_limit(asked, request)
    assert limit is not None
    assert (limit.tokens, ignored(asked, by)) == (64, [])
    assert ignored(asked, prompter(tmp_path, "llama-3")) == ["thinking.budget_tokens"]
    [request] = requests(prompter_of(tmp_path, BUDGETS), asked)
    assert request.prompt.startswith("Hi[64]")
    adaptive = messages(thinking={"type": "adaptive"})
    assert by.thinking(adaptive).limit is None


class Counting:
    """Writes digits, several tokens at a time, within the thought and, once that is closed, behind it."""

    def __init__(
        self, tokenizer: Tokenizer, opens: bool = False, step: int = 1, cached_tokens: int = 2
    ) -> None:
        self.tokenizer = tokenizer
        self.cached_tokens = cached_tokens
        self.opens = opens
        self.step = step
        self.requests: list[GenerationRequest] = []

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        text = "<think>" if self.opens and len(self.requests) == 1 else ""
        text += "0123456789" * 20
        ids = self.tokenizer.encode(text, add_special_tokens=False)[: request.sampling.max_tokens]
        for at in range(0, len(ids), self.step):
            step = tuple(ids[at : at + self.step])
            told = step if request.sampling.log_probs else ()
            written = self.tokenizer.decode(step)
            yield Delta(
                written,
                len(step),
                told,
                (-1.0,) * len(told),
                cached_tokens=None if at else self.cached_tokens,
            )
        yield Delta(finish_reason="length")


async def answer(backend: Counting, by: Prompter, asked: Query) -> tuple[Answer, list[Piece]]:
    [request] = requests(by, asked)
    listener = Listener(by.interpretation(asked, request), thought_limit=by.thought_limit(asked, request))
    pieces = [piece async for piece in stream_answer(cast(Backend, backend), request, turn(), listener)]
    whole = Answer()
    for piece in pieces:
        whole.add(piece)
    return whole, pieces


@pytest.mark.parametrize("step", [1, 3, 50])
@pytest.mark.parametrize("opens", [False, True])
async def test_a_thought_that_is_too_long_is_ended_and_answered(
    tmp_path: Path, opens: bool, step: int
) -> None:
    by = prompter(tmp_path, "qwen3" if opens else "qwq")
    asked = messages(thinking={"type": "enabled", "budget_tokens": 5}, max_tokens=40)
    backend = Counting(by.tokenizer, opens, step)
    whole, pieces = await answer(backend, by, asked)
    assert whole.reasoning == "01234\n"
    tags = len("<think>\n</think>\n\n" if opens else "\n</think>\n\n")
    assert whole.text == ("0123456789" * 4)[: 40 - 5 - tags]
    assert sum(piece.tokens for piece in pieces) == 40
    assert (whole.finish_reason, whole.cached_tokens) == ("length", 2)
    first, second = backend.requests
    end = by.tokenizer.text(second.prompt_token_ids[len(first.prompt_token_ids) :])
    assert end == ("<think>" if opens else "") + whole.reasoning + "</think>\n\n"
    for request in (first, second):
        assert len(request.prompt_token_ids) + request.sampling.max_tokens == len(first.prompt_token_ids) + 40
    assert second.request_id != first.request_id


async def test_no_thought_at_all_costs_no_first_request(tmp_path: Path) -> None:
    by = prompter(tmp_path, "qwq")
    asked = chat(reasoning_effort="none")
    backend = Counting(by.tokenizer, cached_tokens=1000)
    whole, _ = await answer(backend, by, asked)
    [request] = requests(by, asked)
    assert whole.cached_tokens == len(request.prompt_token_ids), "the closing tag was not the client's"
    assert not whole.reasoning.strip()
    assert whole.text.startswith("0123456789")
    assert len(backend.requests) == 1


@pytest.mark.parametrize(
    ("fields", "scored"),
    [
        ({"reasoning_effort": "none"}, [0]),
        ({"reasoning_effort": "none", "max_tokens": 1}, [0]),
        ({"thinking": {"type": "enabled", "budget_tokens": 8}, "max_tokens": 40}, [0, None]),
    ],
)
async def test_a_prompt_is_scored_once_however_its_thought_ends(
    fields: dict[str, Any], scored: list[int | None], tmp_path: Path
) -> None:
    by = prompter(tmp_path, "qwq")
    asked = messages(**fields) if "thinking" in fields else chat(**fields)
    backend = Counting(by.tokenizer)
    await answer(backend, by, replace(asked, prompt_logprobs=0))
    assert [request.sampling.prompt_log_probs for request in backend.requests] == scored


async def test_a_thought_leaves_no_room_for_more_than_max_tokens(tmp_path: Path) -> None:
    asked = messages(thinking={"type": "enabled", "budget_tokens": 8}, max_tokens=9)
    by = prompter(tmp_path, "qwq")
    whole, _ = await answer(Counting(by.tokenizer), by, asked)
    assert (whole.finish_reason, whole.text) == ("length", "")


THOUGHT = ["<think>", "hm", "</think>", "\n\n", "It ", "rains"]


class Scripted:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        for place, text in enumerate(THOUGHT):
            ids = self._tokenizer.encode(text, add_special_tokens=False)
            yield Delta(text, len(ids), tuple(ids), (-float(place),) * len(ids))
        yield Delta(finish_reason="stop")


async def test_log_probabilities_and_times_are_those_of_the_answer_alone(tmp_path: Path) -> None:
    by = prompter(tmp_path, "qwen3")
    asked = chat(logprobs=True)
    [request] = requests(by, asked)
    listener = Listener(by.interpretation(asked, request), log_probs=by.log_probs(asked, request))
    taken = turn()
    pieces = [
        piece
        async for piece in stream_answer(cast(Backend, Scripted(by.tokenizer)), request, taken, listener)
    ]
    whole = Answer()
    for piece in pieces:
        whole.add(piece)
    assert "".join(token.chosen.token for token in whole.chosen) == whole.text == "It rains"
    assert taken.reasoning_tokens == whole.reasoning_tokens > 0
    assert taken.answered >= taken.first > 0


async def test_a_chat_has_the_thought_under_both_names_in_use() -> None:
    thought = Piece((AnswerReasoning("hm"), AnswerText("Rain.")), 4)
    reply = ChatReply(Head("x", "m", 1))
    sent = [json.loads(event[6:]) for event in reply.piece(thought).decode().split("\n\n")[:-1]]
    deltas = [chunk["choices"][0]["delta"] for chunk in sent]
    assert deltas[0]["reasoning"] == deltas[0]["reasoning_content"] == "hm"
    back = {"role": "assistant", "content": None, "reasoning": "hm"}
    asked = chat(messages=[*ASKED["messages"], back, *ASKED["messages"]])
    assert isinstance(asked.prompt, Conversation)
    assert asked.prompt.messages[1].reasoning == "hm"


def test_a_thought_is_never_limited_where_the_answer_is_bound_or_shorter(tmp_path: Path) -> None:
    by = prompter(tmp_path, "qwq")
    asked = messages(thinking={"type": "enabled", "budget_tokens": 8})
    [request] = requests(by, asked)
    short = GenerationRequest("id", "", (1,), SamplingParams(max_tokens=8))
    assert by.thought_limit(asked, request) is not None
    assert by.thought_limit(asked, short) is None


async def test_the_end_of_a_thought_is_the_text_of_its_tokens_with_sentencepiece_too(
    sentencepiece: Tokenizer,
) -> None:
    prompt = "Hi <think>"
    thinking = SamplingParams(max_tokens=40, log_probs=True)
    request = GenerationRequest("id", prompt, tuple(sentencepiece.encode(prompt)), thinking)
    limit, backend = ThoughtLimit(0, 100, sentencepiece), Counting(sentencepiece)
    ending = await anext(limit.generate(cast(Backend, backend), request))
    assert ending.text.strip() == "</think>"
    assert ending.text.startswith("\n"), "no blank is put before it"
    assert sentencepiece.vocabulary.join(ending.token_ids).decode() == ending.text
