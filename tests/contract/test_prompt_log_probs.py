"""How likely a prompt is: echo with logprobs, and prompt_logprobs, with the official openai client."""

from collections.abc import Sequence
from typing import Any

import pytest
from openai import OpenAI
from openai.types import CompletionChoice
from support.gateways import Gateway

TEXT = "The capital of France is Paris, and that of Italy is Rome."
OTHERS = ["1, 2, 3, 4, 5, 6, 7, 8,", "Once", "한국의 수도는 서울이다."]
PARIS = [{"role": "user", "content": "What is the capital of France?"}]
END = 2


def ids_of(gateway: Gateway, text: str) -> list[int]:
    told = gateway.post("/tokenize", json={"model": gateway.model, "prompt": text}).json()
    ids: list[int] = told["tokens"]
    return ids


def prompt_of(choice: CompletionChoice) -> tuple[Any, ...]:
    """What is said of the prompt, whose text has one token for each but the answer's."""
    told = choice.logprobs
    assert told is not None
    return tuple(zip(told.tokens, told.token_logprobs, told.top_logprobs, told.text_offset, strict=True))


def test_a_prompt_alone_is_read_and_scored(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": TEXT, "echo": True, "logprobs": 3, "max_tokens": 0}
    with gateway.can("prompt_logprobs", called="echo"):
        answer = client.completions.create(**asked)
        [choice] = answer.choices
        assert (choice.text, choice.finish_reason) == (TEXT, "length")
        told = choice.logprobs
        assert "".join(told.tokens) == TEXT
        assert told.text_offset == [len("".join(told.tokens[:at])) for at in range(len(told.tokens))]
        assert told.token_logprobs[0] is told.top_logprobs[0] is None
        for token, log_prob, top in list(
            zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True)
        )[1:]:
            assert top[token] == log_prob <= max(top.values())
            assert 3 <= len(top) <= 4
        assert told.token_logprobs[told.tokens.index(" Paris")] > -1.5
        usage = answer.usage
        assert (usage.prompt_tokens, usage.completion_tokens) == (len(told.tokens), 0)


def test_the_answer_after_an_echo_is_the_answer_without_it(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": TEXT, "temperature": 0, "logprobs": 0}
    alone = client.completions.create(**asked, max_tokens=6).choices[0]
    with gateway.can("prompt_logprobs", called="echo"):
        prompt = prompt_of(client.completions.create(**asked, echo=True, max_tokens=0).choices[0])
        [echoed] = client.completions.create(**asked, echo=True, max_tokens=6).choices
        assert echoed.text == TEXT + alone.text
        assert prompt_of(echoed)[: len(prompt)] == prompt
        rest = prompt_of(echoed)[len(prompt) :]
        assert rest == tuple((*each, len(TEXT) + at) for *each, at in prompt_of(alone))


def test_prompts_have_the_same_numbers_together_and_alone_as_text_and_as_ids(
    client: OpenAI, gateway: Gateway
) -> None:
    asked = {"model": gateway.model, "echo": True, "logprobs": 2, "max_tokens": 1, "temperature": 0}
    texts = [TEXT, *OTHERS]
    ids = [ids_of(gateway, text) for text in texts]
    with gateway.can("prompt_logprobs", called="echo"):
        alone = [client.completions.create(**asked, prompt=text).choices[0] for text in texts]
        for prompts in (texts, ids):
            together = client.completions.create(**asked, prompt=prompts).choices
            assert [choice.text for choice in together] == [choice.text for choice in alone]
            assert list(map(prompt_of, together)) == list(map(prompt_of, alone))


def test_a_choice_lists_the_token_that_ended_it_so_that_evaluations_can_count(
    client: OpenAI, gateway: Gateway
) -> None:
    """lm_eval drops the last entry, which is the answer's one token: an ending must be one as well."""
    asked = {"model": gateway.model, "prompt": TEXT, "echo": True, "logprobs": 1, "max_tokens": 1}
    with gateway.can("prompt_logprobs", called="echo"):
        plain = client.completions.create(**asked, temperature=0).choices[0]
        for fields in ({"logit_bias": {str(END): 100}}, {"stop": plain.text.removeprefix(TEXT)}):
            answer = client.completions.create(**asked, temperature=0, **fields)
            [choice] = answer.choices
            assert (choice.text, choice.finish_reason) == (TEXT, "stop")
            assert prompt_of(choice)[:-1] == prompt_of(plain)[:-1]
        ended = client.completions.create(**asked, temperature=0, logit_bias={str(END): 100})
        assert ended.choices[0].logprobs.tokens[-1] == "<|im_end|>"
        assert ended.usage.completion_tokens == 0
        shown = client.completions.create(**{**asked, "echo": False}, logit_bias={str(END): 100})
        assert shown.choices[0].logprobs is None


def joined(chunks: Sequence[Any], index: int) -> tuple[str, tuple[Any, ...]]:
    choices = [each for chunk in chunks for each in chunk.choices if each.index == index]
    return "".join(each.text for each in choices), tuple(
        entry for each in choices if each.logprobs for entry in prompt_of(each)
    )


def test_a_stream_has_the_same_text_and_numbers(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": [TEXT, OTHERS[0]], "echo": True, "logprobs": 1}
    asked |= {"max_tokens": 4, "temperature": 1, "seed": 3, "n": 2}
    with gateway.can("prompt_logprobs", called="echo"):
        whole = client.completions.create(**asked).choices
        chunks = list(client.completions.create(**asked, stream=True))
        for choice in whole:
            assert joined(chunks, choice.index) == (choice.text, prompt_of(choice))


def test_prompt_logprobs_are_those_of_the_echo_by_token_id(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": TEXT, "max_tokens": 2, "temperature": 0}
    ids = ids_of(gateway, TEXT)
    with gateway.can("prompt_logprobs"):
        scored = client.completions.create(**asked, extra_body={"prompt_logprobs": 2}).model_dump()
        [choice] = scored["choices"]
        first, *entries = choice["prompt_logprobs"]
        assert first is None
        echoed = client.completions.create(**asked, echo=True, logprobs=2).choices[0]
        assert choice["text"] == echoed.text.removeprefix(TEXT)
        told = prompt_of(echoed)[1 : len(ids)]
        for token, entry, (word, log_prob, top, _) in zip(ids[1:], entries, told, strict=True):
            own = entry[str(token)]
            assert (own["decoded_token"], own["logprob"]) == (word, log_prob)
            assert {each["decoded_token"]: each["logprob"] for each in entry.values()} == top
            ranks = [each["rank"] for each in entry.values() if each is not own]
            assert ranks == ([1, 2] if own["rank"] > 2 else [3 - own["rank"]])


def test_a_chat_has_the_log_probabilities_of_its_whole_prompt(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "messages": PARIS, "temperature": 0, "max_tokens": 8}
    plain = client.chat.completions.create(**asked)
    with gateway.can("prompt_logprobs"):
        body = client.chat.completions.create(**asked, n=2, extra_body={"prompt_logprobs": 0}).model_dump()
        assert [each["message"]["content"] for each in body["choices"]] == [
            plain.choices[0].message.content
        ] * 2
        first, *entries = body["prompt_logprobs"]
        assert (first, len(entries)) == (None, plain.usage.prompt_tokens - 1)
        words = [each["decoded_token"] for entry in entries for each in entry.values()]
        assert "".join(words).endswith("What is the capital of France?<|im_end|>\n<|im_start|>assistant\n")


def test_no_tokens_are_an_empty_answer(client: OpenAI, gateway: Gateway) -> None:
    with gateway.can("max_tokens"):
        answer = client.completions.create(model=gateway.model, prompt=TEXT, max_tokens=0)
        assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("", "length")
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (14, 0)
    chunks = []
    with gateway.can("max_tokens"):
        chunks += client.completions.create(model=gateway.model, prompt=TEXT, max_tokens=0, stream=True)
        assert [chunk.choices[0].finish_reason for chunk in chunks] == ["length"]


@pytest.mark.parametrize("number", [-1, 21, True, "1"])
def test_a_number_of_tokens_that_cannot_be_is_a_400(gateway: Gateway, number: object) -> None:
    for path, asked in (("completions", {"prompt": TEXT}), ("chat/completions", {"messages": PARIS})):
        refused = gateway.post(
            f"/v1/{path}", json={"model": gateway.model, "prompt_logprobs": number, **asked}
        )
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "prompt_logprobs"
