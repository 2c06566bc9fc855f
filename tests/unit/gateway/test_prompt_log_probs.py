"""The log-probabilities of a prompt in OpenAI's and in vLLM's shape, without a server."""

import json
from collections.abc import Sequence
from math import inf
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import sentencepiece_tokenizer
from support.pieces import HEAD

from slipway.contract.generation import PromptLogProbs, TopLogProbs
from slipway.gateway.answers.answer import Answer, Piece
from slipway.gateway.answers.blocks import Block
from slipway.gateway.answers.log_probs import ChosenToken, Likelihood
from slipway.gateway.answers.prompt_tokens import PromptTokens
from slipway.gateway.chat.reply import ChatReply
from slipway.gateway.completions.reply import CompletionReply
from slipway.gateway.shapes.reply import Reply, as_json
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerText
from slipway.text.tokenizer import Tokenizer

TEXT = "Paris 한국어 <|im_start|>user"
USAGE = Usage.of(1, 1, [])
ANSWERED = ChosenToken(Likelihood(" is", b" is", -0.5), 0, (Likelihood(" is", b" is", -0.5),))


@pytest.fixture(scope="module")
def llama2(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("llama2")
    sentencepiece_tokenizer.write(folder)
    return Tokenizer.load(folder)


@given(st.text("aé한😀 <|", max_size=20).map(lambda text: text + TEXT))
def test_offsets_point_at_the_tokens_in_the_text(tokenizer: Tokenizer, text: str) -> None:
    tokens = PromptTokens(tokenizer, tokenizer.encode(text), text)
    assert tokens.offsets[0] == 0
    assert tokens.offsets == sorted(tokens.offsets)
    for word, offset in zip(tokens.words, tokens.offsets, strict=True):
        assert word.startswith("bytes:") or text.startswith(word, offset)


def test_what_the_tokenizer_puts_before_a_text_takes_no_place_in_it(llama2: Tokenizer) -> None:
    text = "Hi Paris"
    tokens = PromptTokens(llama2, llama2.encode(text), text)
    assert (tokens.words, tokens.offsets) == (["<s>", "Hi", " Paris"], [0, 0, 2])
    spelled_out = llama2.text(tokens.ids)
    assert spelled_out.startswith("<s>")
    assert PromptTokens(llama2, tokens.ids, spelled_out).offsets[:2] == [0, 3]


def tokens(tokenizer: Tokenizer) -> tuple[PromptTokens, list[int]]:
    ids = tokenizer.encode(" a b a")
    return PromptTokens(tokenizer, ids, " a b a"), ids


def scores(tokenizer: Tokenizer) -> PromptLogProbs:
    [a], [b] = tokenizer.encode(" a"), tokenizer.encode(" b")
    tops = (TopLogProbs((b, a), (-0.25, -2.0)), TopLogProbs((b, a), (-0.125, -inf)))
    return PromptLogProbs((-0.25, -inf), (1, 7), tops)


def answered(scores: PromptLogProbs | None) -> Answer:
    return Answer([Block("text", " is")], 1, finish_reason="length", chosen=[ANSWERED], prompt=scores)


def body(reply: Reply, *answers: Answer) -> dict[str, object]:
    read: dict[str, object] = json.loads(as_json(reply.body(answers, USAGE)))
    return read


ECHOED = {
    "tokens": [" a", " b", " a", " is"],
    "token_logprobs": [None, -0.25, -9999.0, -0.5],
    "top_logprobs": [None, {" b": -0.25}, {" b": -0.125, " a": -9999.0}, {" is": -0.5}],
    "text_offset": [0, 2, 4, 6],
}


def test_an_echo_has_the_prompts_tokens_before_the_answers(tokenizer: Tokenizer) -> None:
    reply = CompletionReply(HEAD, echoes=[" a b a"], tokens=[tokens(tokenizer)[0]], echoed_logprobs=1)
    [choice] = body(reply, answered(scores(tokenizer)))["choices"]
    assert choice["text"] == " a b a is"
    assert choice["logprobs"] == ECHOED
    assert "prompt_logprobs" not in choice


def test_a_prompt_alone_has_no_tokens_of_an_answer(tokenizer: Tokenizer) -> None:
    reply = CompletionReply(HEAD, echoes=[" a b a"], tokens=[tokens(tokenizer)[0]], echoed_logprobs=1)
    [choice] = body(reply, Answer(finish_reason="length", prompt=scores(tokenizer)))["choices"]
    assert (choice["text"], choice["finish_reason"]) == (" a b a", "length")
    assert choice["logprobs"] == {name: values[:3] for name, values in ECHOED.items()}


def test_a_prompt_of_one_token_has_a_null_alone(tokenizer: Tokenizer) -> None:
    one = PromptTokens(tokenizer, tokenizer.encode(" a"), " a")
    for known in (None, PromptLogProbs((), ())):
        reply = CompletionReply(HEAD, echoes=[" a"], tokens=[one], echoed_logprobs=0, prompt_logprobs=0)
        [choice] = body(reply, Answer(finish_reason="length", prompt=known))["choices"]
        assert choice["logprobs"]["token_logprobs"] == choice["logprobs"]["top_logprobs"] == [None]
        assert choice["prompt_logprobs"] == [None]


def test_prompt_logprobs_have_vllms_shape(tokenizer: Tokenizer) -> None:
    prompt, (a, b, _) = tokens(tokenizer)
    likely = {"logprob": -0.25, "rank": 1, "decoded_token": " b"}
    unlikely = {"logprob": -9999.0, "rank": 7, "decoded_token": " a"}
    expected = [None, {str(b): likely}, {str(a): unlikely, str(b): {**likely, "logprob": -0.125}}]
    completion = body(CompletionReply(HEAD, tokens=[prompt], prompt_logprobs=1), answered(scores(tokenizer)))
    assert completion["choices"][0]["prompt_logprobs"] == expected  # type: ignore[index]
    chat = body(ChatReply(HEAD, tokens=prompt, prompt_logprobs=1), answered(scores(tokenizer)))
    assert chat["prompt_logprobs"] == expected
    fewest = body(ChatReply(HEAD, tokens=prompt), answered(scores(tokenizer)))["prompt_logprobs"]
    assert [each and list(each) for each in fewest] == [None, [str(b)], [str(a)]]  # type: ignore[attr-defined]


def streamed(reply: CompletionReply, pieces: Sequence[Piece]) -> dict[int, list[dict[str, object]]]:
    """The chunks of each choice."""
    sent = reply.opening(2) + b"".join(reply.piece(piece) for piece in pieces)
    chunks = [json.loads(event.removeprefix("data: ")) for event in sent.decode().split("\n\n")[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return {index: [each for each in choices if each["index"] == index] for index in (0, 1)}


@pytest.mark.parametrize("first", [0, 1])
def test_a_stream_sends_a_prompt_once_it_is_scored_and_its_answers_after_it(
    tokenizer: Tokenizer, first: int
) -> None:
    """Of two answers to a prompt, the first has its log-probabilities, and either may begin."""
    prompt = tokens(tokenizer)[0]
    reply = CompletionReply(HEAD, echoes=[" a b a"] * 2, tokens=[prompt] * 2, echoed_logprobs=1, n=2)
    begun = [
        Piece((AnswerText(" is"),), 1, chosen=(ANSWERED,), index=index, prompt=known)
        for index, known in enumerate((scores(tokenizer), None))
    ]
    ends = [Piece((), 0, "length", index=index) for index in (0, 1)]
    for choices in streamed(reply, [begun[first], begun[1 - first], *ends]).values():
        assert "".join(str(each["text"]) for each in choices) == " a b a is"
        told: dict[str, list[object]] = {name: [] for name in ECHOED}
        for each in choices:
            for name, values in (each["logprobs"] or {}).items():  # type: ignore[attr-defined]
                told[name] += values
        assert told == ECHOED
        assert choices[-1]["finish_reason"] == "length"
