"""Tokens that end an answer because the client asks for it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from support.pieces import Scripted, shown
from support.queries import chat, manifest
from support.turns import turn

from slipway.contract.errors import InvalidRequest
from slipway.contract.generation import Delta, GenerationRequest, SamplingParams
from slipway.gateway.answers.answer import Piece, stream_answer
from slipway.gateway.backends.stop_token import without_stop_token
from slipway.gateway.messages.schema import MessagesRequest
from slipway.gateway.query import Query
from slipway.gateway.responses.schema import ResponsesRequest
from slipway.gateway.shapes.parsing import parse
from slipway.gateway.stop_tokens import stop_tokens
from slipway.text.tokenizer import Tokenizer

# Of the sample's tokenizer; 0 is <|endoftext|>, 1 <|im_start|> and 2 <|im_end|>.
OWN = manifest().model_copy(update={"eos_token_ids": (2,)})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"stop_token_ids": [1, 5]}, {1: "<|im_start|>", 5: "<file_sep>"}),
        ({"stop": "<|im_start|>"}, {1: "<|im_start|>"}),
        ({"stop": ["<|im_start|>", "END"], "stop_token_ids": [1]}, {1: "<|im_start|>"}),
        ({"stop": "<|im_end|>"}, {}),  # the engine ends there anyway
        ({"stop": "<|im_end|>", "ignore_eos": True}, {2: "<|im_end|>"}),
        ({"stop": ["</s>", "<|eot_id|>", "<|im_start"]}, {}),  # no tokens of this model, so they are text
        ({}, {}),
    ],
)
def test_ids_and_names_of_special_tokens_become_stop_tokens(
    tokenizer: Tokenizer, asked: dict[str, Any], expected: dict[int, str]
) -> None:
    assert stop_tokens(chat(**asked), OWN, tokenizer) == expected


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        (
            {"stop_token_ids": [1, 1000]},
            "stop_token_ids",
            "token id 1000, but the vocabulary of small ends at 999",
        ),
        ({"stop": "<|im_end|>\n"}, "stop", "<|im_end|> is a special token, and text never shows it"),
        ({"stop": ["x", "a<|im_start|>"]}, "stop", "Give <|im_start|> alone"),
    ],
)
def test_what_no_answer_can_have_is_refused(
    tokenizer: Tokenizer, asked: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        stop_tokens(chat(**asked), OWN, tokenizer)
    assert refused.value.param == field
    assert words in str(refused.value)


def test_the_token_that_ended_an_answer_is_no_part_of_it() -> None:
    last = Delta(token_count=2, token_ids=(7, 5), log_probs=(-1.0, -2.0), finish_reason="stop")
    ended = Delta(token_count=1, token_ids=(7,), log_probs=(-1.0,), finish_reason="stop", stop_token_id=5)
    assert without_stop_token(last, {5: "five"}, report_end=False) == ended
    reported = replace(ended, token_ids=last.token_ids, log_probs=last.log_probs)
    assert without_stop_token(last, {5: "five"}, report_end=True) == reported
    assert without_stop_token(last, {7: "seven"}, report_end=False) is last
    end = Delta(finish_reason="stop")
    assert without_stop_token(end, {5: "five"}, report_end=False) is end, "the engine's own end"


@pytest.mark.parametrize(("show", "text"), [(False, "ab EN"), (True, "ab EN<|im_start|>")])
async def test_a_stop_token_ends_an_answer_like_a_stop_string(show: bool, text: str) -> None:
    sampling = SamplingParams(max_tokens=9, stop_token_ids=((1,),))
    asked = GenerationRequest("id", "p", (1,), sampling, ("END",), {1: "<|im_start|>"}, show)
    deltas = [Delta("ab", 1), Delta(" EN", 1), Delta(finish_reason="stop", stop_token_id=1)]
    pieces: list[Piece] = [piece async for piece in stream_answer(Scripted(deltas), asked, turn())]
    assert shown(pieces) == text, "text that could have become a stop string is there"
    assert (pieces[-1].finish_reason, pieces[-1].stop) == ("stop", "<|im_start|>")
    assert sum(piece.tokens for piece in pieces) == 2


def test_responses_and_messages_have_stop_tokens_under_their_own_names(tokenizer: Tokenizer) -> None:
    response = parse(b'{"model": "m", "input": "Hi", "stop_token_ids": [5]}', ResponsesRequest)
    assert stop_tokens(response.query((), response.said()), OWN, tokenizer) == {5: "<file_sep>"}
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}

    def message(stop: str) -> Query:
        return parse(json.dumps(asked | {"stop_sequences": [stop]}).encode(), MessagesRequest).query()

    assert stop_tokens(message("<|im_start|>"), OWN, tokenizer) == {1: "<|im_start|>"}
    with pytest.raises(InvalidRequest, match=r"stop_sequences has '<\|im_start\|>user', which no answer"):
        stop_tokens(message("<|im_start|>user"), OWN, tokenizer)
