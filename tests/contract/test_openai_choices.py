"""n and best_of with the official openai client, on every backend."""

from collections import defaultdict

import httpx
import pytest
from openai import OpenAI
from openai.types.chat.chat_completion import Choice
from support.gateways import Gateway
from support.waiting import wait_until

SEA = [{"role": "user", "content": "Write one sentence about the sea."}]
ONCE = "Once upon a time there was a"
SAMPLED = {"temperature": 1.2, "seed": 7, "max_tokens": 10}


def test_seeded_choices_differ_and_the_first_equals_a_single_answer(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "messages": SEA, **SAMPLED}
    alone = [
        client.chat.completions.create(**(asked | {"seed": seed})).choices[0].message.content
        for seed in (7, 8, 9)
    ]
    completion = client.chat.completions.create(**asked, n=3)
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert [choice.message.content for choice in completion.choices] == alone
    assert len(set(alone)) == 3
    assert all(choice.finish_reason in ("stop", "length") for choice in completion.choices)


def test_a_stream_carries_every_choice_under_its_index(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "messages": SEA, **SAMPLED, "n": 3}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    texts, roles, finishes = defaultdict(str), defaultdict(int), defaultdict(list)
    for chunk in chunks[:-1]:
        [choice] = chunk.choices
        assert not finishes[choice.index], "nothing of a choice comes after its end"
        texts[choice.index] += choice.delta.content or ""
        roles[choice.index] += choice.delta.role == "assistant"
        finishes[choice.index] += [choice.finish_reason] if choice.finish_reason else []
    assert texts == {choice.index: choice.message.content for choice in whole.choices}
    assert finishes == {choice.index: [choice.finish_reason] for choice in whole.choices}
    assert roles == {0: 1, 1: 1, 2: 1}
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_usage_counts_the_prompt_once_and_the_tokens_of_all_choices(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": ONCE, "max_tokens": 8, "extra_body": {"ignore_eos": True}}
    one = client.completions.create(**asked).usage
    for options in ({"n": 5}, {"n": 2, "best_of": 5}):
        usage = client.completions.create(**asked, **options).usage
        assert usage.prompt_tokens == one.prompt_tokens
        assert usage.completion_tokens == 40
        assert usage.total_tokens == one.prompt_tokens + 40


def test_greedy_choices_are_equal_even_beyond_the_engines_slots(client: OpenAI, gateway: Gateway) -> None:
    count = gateway.limits.max_batch_size + 4
    completion = client.completions.create(
        model=gateway.model, prompt=ONCE, temperature=0, max_tokens=4, n=count
    )
    assert [choice.index for choice in completion.choices] == list(range(count))
    assert len({choice.text for choice in completion.choices}) == 1
    assert completion.choices[0].text


def test_a_stop_string_ends_each_choice_where_it_occurs(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": ONCE, **SAMPLED, "max_tokens": 16, "n": 4}
    full = [choice.text for choice in client.completions.create(**asked).choices]
    cut = client.completions.create(**asked, stop="a").choices
    assert [choice.text for choice in cut] == [text.partition("a")[0] for text in full]
    assert {choice.finish_reason for choice in cut} <= {"stop", "length"}


def test_best_of_returns_the_likeliest_answers_best_first(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": ONCE, "temperature": 1.5, "seed": 3, "max_tokens": 8}
    drawn = [choice.text for choice in client.completions.create(**asked, n=6).choices]
    ranked = [choice.text for choice in client.completions.create(**asked, n=6, best_of=6).choices]
    assert ranked == drawn, "nothing to choose"
    best = client.completions.create(**asked, best_of=6).choices
    assert [choice.index for choice in best] == [0]
    three = [choice.text for choice in client.completions.create(**asked, n=3, best_of=6).choices]
    assert three[0] == best[0].text
    assert set(three) < set(drawn)
    assert len(set(drawn)) == 6


def test_best_of_ranks_the_answers_of_a_chat(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "temperature": 1.5, "seed": 3, "max_tokens": 8}
    asked["messages"] = [{"role": "user", "content": ONCE}]
    drawn = client.chat.completions.create(**asked, n=3, logprobs=True).choices

    def mean(choice: Choice) -> float:
        tokens = choice.logprobs.content
        return sum(token.logprob for token in tokens) / len(tokens)

    (best,) = client.chat.completions.create(**asked, extra_body={"best_of": 3}).choices
    assert best.message.content == max(drawn, key=mean).message.content


def test_best_of_cannot_be_streamed(gateway: Gateway) -> None:
    body = {"model": gateway.model, "prompt": ONCE, "best_of": 2, "stream": True}
    error = gateway.post("/v1/completions", json=body).json()["error"]
    assert error["param"] == "best_of"
    assert "stream" in error["message"]


def test_a_client_that_leaves_frees_the_slots_of_all_choices(client: OpenAI, gateway: Gateway) -> None:
    # More than there are slots: those that wait leave too.
    slots = gateway.limits.max_batch_size
    asked = {"model": gateway.model, "prompt": ONCE, "n": slots + 4, "max_tokens": 8000}
    stream = client.completions.create(**asked, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    wait_until(lambda: gateway.running_requests() == slots)
    stream.close()
    wait_until(lambda: gateway.running_requests() == 0)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{gateway.url}/v1/completions", json=asked | {"ignore_eos": True}, timeout=1)
    wait_until(lambda: gateway.running_requests() == 0)
