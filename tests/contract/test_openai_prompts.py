"""All shapes of prompts of /v1/completions, with the official openai client, on every backend."""

from collections import defaultdict

import openai
import pytest
from openai import OpenAI
from support.gateways import Gateway

COUNT = "1, 2, 3, 4, 5, 6, 7, 8,"
ONCE = "Once upon a time there was a"


def ids_of(gateway: Gateway, text: str) -> list[int]:
    tokens: list[int] = gateway.post("/tokenize", json={"model": gateway.model, "prompt": text}).json()[
        "tokens"
    ]
    return tokens


def test_token_ids_give_the_same_answer_as_their_text(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "temperature": 0, "max_tokens": 8}
    text = client.completions.create(**asked, prompt=COUNT)
    ids = client.completions.create(**asked, prompt=ids_of(gateway, COUNT))
    assert ids.choices[0].text == text.choices[0].text
    assert ids.usage.prompt_tokens == text.usage.prompt_tokens
    # A tokenization that no text has: each letter on its own.
    apart = [token for character in ONCE for token in ids_of(gateway, character)]
    assert len(apart) > len(ids_of(gateway, ONCE))
    assert client.completions.create(**asked, prompt=apart).usage.prompt_tokens == len(apart)
    with pytest.raises(openai.BadRequestError, match="token id 49152") as caught:
        client.completions.create(**asked, prompt=[1, 49152])
    assert caught.value.param == "prompt"


def test_several_prompts_get_the_answers_of_single_ones_in_order(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "temperature": 0.8, "seed": 3, "max_tokens": 8, "n": 2}
    alone = [client.completions.create(**asked, prompt=prompt) for prompt in (COUNT, ONCE)]
    expected = [choice.text for completion in alone for choice in completion.choices]
    prompts = [[COUNT, ONCE], [ids_of(gateway, COUNT), ids_of(gateway, ONCE)]]
    for prompt in prompts:
        together = client.completions.create(**asked, prompt=prompt)
        assert [choice.index for choice in together.choices] == [0, 1, 2, 3]
        assert [choice.text for choice in together.choices] == expected
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            assert getattr(together.usage, name) == sum(getattr(each.usage, name) for each in alone)
    streamed: dict[int, str] = defaultdict(str)
    for chunk in client.completions.create(**asked, prompt=prompts[0], stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert [streamed[index] for index in range(4)] == expected


def test_only_the_last_tokens_of_a_prompt_are_read_where_the_client_says_so(
    client: OpenAI, gateway: Gateway
) -> None:
    asked = {"model": gateway.model, "temperature": 0, "max_tokens": 8}
    cut = {"extra_body": {"truncate_prompt_tokens": 9}}
    last = client.completions.create(**asked, prompt=ids_of(gateway, COUNT)[-9:])
    for prompt in (COUNT, ids_of(gateway, COUNT)):
        answer = client.completions.create(**asked, prompt=prompt, **cut)
        assert answer.choices[0].text == last.choices[0].text
        assert answer.usage.prompt_tokens == 9


def test_best_of_applies_to_each_prompt(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "temperature": 1.2, "seed": 3, "max_tokens": 6}
    alone = [
        client.completions.create(**asked, prompt=each, best_of=3).choices[0].text for each in (COUNT, ONCE)
    ]
    together = client.completions.create(**asked, prompt=[COUNT, ONCE], best_of=3)
    assert [choice.text for choice in together.choices] == alone


def test_the_prompt_that_does_not_fit_is_named(client: OpenAI, gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=gateway.model, prompt=["a", "one " * 9000])
    assert (caught.value.param, caught.value.code) == ("prompt[1]", "context_length_exceeded")


def test_echo_puts_the_prompt_before_each_answer(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "temperature": 0, "max_tokens": 4, "echo": True}
    prompt = [ids_of(gateway, COUNT), ids_of(gateway, "<|im_start|>user\nHi")]
    whole = client.completions.create(**asked, prompt=prompt)
    assert whole.choices[0].text == COUNT + " 9, 10"[: len(whole.choices[0].text) - len(COUNT)]
    assert whole.choices[1].text.startswith("<|im_start|>user\nHi")
    assert whole.usage.completion_tokens == 8, "the prompt does not count as generated"
    streamed: dict[int, str] = defaultdict(str)
    for chunk in client.completions.create(**asked, prompt=prompt, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == {choice.index: choice.text for choice in whole.choices}


def test_the_stop_string_can_be_part_of_the_answer(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": COUNT, "temperature": 0, "max_tokens": 20, "stop": ", 12"}
    shown = {"include_stop_str_in_output": True}
    [choice] = client.completions.create(**asked, logprobs=0, extra_body=shown).choices
    assert (choice.text, choice.finish_reason) == (" 9, 10, 11, 12", "stop")
    assert "".join(choice.logprobs.tokens).startswith(choice.text)
    chunks = list(client.completions.create(**asked, extra_body=shown, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == choice.text


def test_tokenize_counts_as_usage_does_and_detokenize_returns_the_text(
    client: OpenAI, gateway: Gateway
) -> None:
    messages = [{"role": "user", "content": "안녕 <|im_end|>"}]
    tokenized = gateway.post("/tokenize", json={"model": gateway.model, "messages": messages}).json()
    usage = client.chat.completions.create(model=gateway.model, messages=messages, max_tokens=1).usage
    assert tokenized["count"] == len(tokenized["tokens"]) == usage.prompt_tokens
    assert tokenized["max_model_len"] == gateway.limits.max_seq_len
    body = {"model": gateway.model, "tokens": tokenized["tokens"]}
    text = gateway.post("/detokenize", json=body).json()["prompt"]
    assert "<|im_start|>user\n안녕 <|im_end|><|im_end|>\n<|im_start|>assistant" in text
    [end] = ids_of(gateway, "<|im_end|>")
    assert tokenized["tokens"].count(end) == 2, (
        "one for the system's turn and one for the user's; the one in the message is text"
    )
    body = {"model": gateway.model, "prompt": " Paris", "return_token_strs": True}
    named = gateway.post("/tokenize", json=body).json()
    assert (named["tokens"], named["token_strs"]) == ([7042], ["ĠParis"])


def test_an_error_of_tokenize_or_detokenize_names_the_field(gateway: Gateway) -> None:
    for path, fields, param in (
        ("tokenize", {}, "prompt"),
        ("tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "prompt"),
        ("tokenize", {"messages": []}, "messages"),
        ("detokenize", {"tokens": [1, 49152]}, "tokens"),
        ("detokenize", {"tokens": [1, -1]}, "tokens[1]"),
        ("detokenize", {"tokens": [], "model": "gpt-9"}, "model"),
    ):
        reply = gateway.post(f"/{path}", json={"model": gateway.model} | fields)
        assert reply.status_code in (400, 404), reply.text
        assert reply.json()["error"]["param"] == param
