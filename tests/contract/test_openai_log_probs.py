"""Log-probabilities and biases with the official openai client, on every backend."""

import math

import pytest
from openai import OpenAI
from support.gateways import Gateway

PARIS = [{"role": "user", "content": "What is the capital of France?"}]
COUNT = "1, 2, 3, 4, 5, 6, 7, 8,"


def test_a_chat_has_the_same_log_probabilities_streamed_or_not(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "messages": PARIS, "temperature": 0, "max_tokens": 12, "logprobs": True}
    [choice] = client.chat.completions.create(**asked).choices
    tokens = choice.logprobs.content
    assert b"".join(bytes(token.bytes) for token in tokens).decode() == choice.message.content
    assert all(token.logprob <= 0 and token.top_logprobs == [] for token in tokens)
    streamed, text = [], ""
    for chunk in client.chat.completions.create(**asked, stream=True):
        [choice] = chunk.choices
        text += choice.delta.content or ""
        streamed += choice.logprobs.content if choice.logprobs else []
        assert sum(len(token.bytes) for token in streamed) >= len(text.encode())
    assert streamed == tokens
    [without] = client.chat.completions.create(model=gateway.model, messages=PARIS, max_tokens=1).choices
    assert without.logprobs is None


@pytest.mark.parametrize("stream", [False, True])
def test_each_token_has_the_likeliest_tokens_at_its_position(
    client: OpenAI, gateway: Gateway, stream: bool
) -> None:
    chat = {"model": gateway.model, "messages": PARIS, "temperature": 0, "max_tokens": 6, "stream": stream}
    with gateway.can("top_logprobs"):
        answer = client.chat.completions.create(**chat, logprobs=True, top_logprobs=3)
        received = [each.choices[0].logprobs for each in (answer if stream else [answer])]
        tokens = [token for each in received if each for token in each.content]
        assert len(tokens) == 6
        for token in tokens:
            assert len(token.top_logprobs) == 3
            assert token.top_logprobs[0].token == token.token, "greedy"
            assert token.top_logprobs[0].logprob == token.logprob
            assert sum(math.exp(top.logprob) for top in token.top_logprobs) <= 1.0001
    plain = {"model": gateway.model, "prompt": COUNT, "temperature": 0, "max_tokens": 4, "stream": stream}
    with gateway.can("top_logprobs", called="logprobs"):
        answer = client.completions.create(**plain, logprobs=2)
        received = [each.choices[0].logprobs for each in (answer if stream else [answer])]
        tops = [
            place
            for each in received
            if each
            for place in zip(each.tokens, each.token_logprobs, each.top_logprobs, strict=True)
        ]
        assert len(tops) == 4
        for token, log_prob, top in tops:
            assert top[token] == log_prob == max(top.values())
            assert len(top) == 2


def test_a_completions_tokens_have_their_offsets_in_its_text(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": COUNT, "temperature": 0, "max_tokens": 8, "logprobs": 0}
    [choice] = client.completions.create(**asked).choices
    log_probs = choice.logprobs
    assert "".join(log_probs.tokens) == choice.text
    assert log_probs.text_offset == [len("".join(log_probs.tokens[:place])) for place in range(8)]
    assert [[*top.items()] for top in log_probs.top_logprobs] == [
        [chosen] for chosen in zip(log_probs.tokens, log_probs.token_logprobs, strict=True)
    ]
    chunks = list(client.completions.create(**asked, stream=True))
    streamed = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [token for each in streamed for token in each.tokens] == log_probs.tokens
    assert [offset for each in streamed for offset in each.text_offset] == log_probs.text_offset


def test_tokens_that_a_stop_string_hides_have_no_log_probabilities(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": COUNT, "temperature": 0, "max_tokens": 20, "logprobs": 0}
    [choice] = client.completions.create(**asked, stop=", 12").choices
    assert choice.text == " 9, 10, 11"
    assert "".join(choice.logprobs.tokens) == choice.text
    chunks = list(client.completions.create(**asked, stop=", 12", stream=True))
    streamed = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [token for each in streamed for token in each.tokens] == choice.logprobs.tokens


def test_each_choice_has_its_own_log_probabilities(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": "Once", "temperature": 1.2, "seed": 5, "max_tokens": 6}
    choices = client.completions.create(**asked, n=2, best_of=3, logprobs=0).choices
    assert [choice.text for choice in choices] == ["".join(choice.logprobs.tokens) for choice in choices]
    means = [sum(choice.logprobs.token_logprobs) / len(choice.logprobs.tokens) for choice in choices]
    assert means[0] >= means[1]


def test_a_bias_bans_a_token_or_forces_it(client: OpenAI, gateway: Gateway) -> None:
    def answer(bias: dict[str, int]) -> str:
        return (
            client.chat.completions.create(
                model=gateway.model, messages=PARIS, temperature=0, max_tokens=6, logit_bias=bias
            )
            .choices[0]
            .message.content
        )

    assert answer({}) == "The capital of France is Paris"
    assert answer({"7042": -100}).startswith("The capital of France is")
    assert "Paris" not in answer({"7042": -100})
    assert answer({"7042": 100}) == " Paris" * 6


def test_min_p_of_one_is_greedy_whatever_the_temperature(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": COUNT, "max_tokens": 12}
    greedy = client.completions.create(**asked, temperature=0).choices[0].text
    with gateway.can("min_p"):
        least = client.completions.create(**asked, temperature=2, extra_body={"min_p": 1})
        assert least.choices[0].text == greedy
