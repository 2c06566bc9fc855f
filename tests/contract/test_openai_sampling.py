"""How sampling fields change an answer, by the official client."""

import pytest
from openai import BadRequestError, OpenAI
from support.gateways import Gateway
from support.prompts import COUNT, PARIS

COMMA = 28  # of the sample's vocabulary


def counted(client: OpenAI, model: str, **options: object) -> str:
    """Return a greedy answer to COUNT."""
    return client.completions.create(model=model, prompt=COUNT, temperature=0, **options).choices[0].text


def test_the_same_seed_gives_the_same_answer_and_no_seed_a_new_one(client: OpenAI, gateway: Gateway) -> None:
    def sampled(seed: int | None) -> str:
        completion = client.completions.create(
            model=gateway.model, prompt="Once", temperature=1.5, seed=seed, max_tokens=12
        )
        return completion.choices[0].text

    assert sampled(7) == sampled(7)
    assert sampled(-7) == sampled(-7)
    assert sampled(7) != sampled(8)
    assert len({sampled(None) for _ in range(3)}) == 3


def test_top_k_one_is_greedy_whatever_the_temperature(client: OpenAI, gateway: Gateway) -> None:
    hot = client.completions.create(
        model=gateway.model, prompt=COUNT, temperature=2, max_tokens=16, extra_body={"top_k": 1}
    )
    assert hot.choices[0].text == counted(client, gateway.model, max_tokens=16)


def test_a_bad_word_is_kept_out(client: OpenAI, gateway: Gateway) -> None:
    plain = counted(client, gateway.model, max_tokens=16)
    digit = next(character for character in plain if character.isdigit())
    for word in (digit, f" {digit}"):
        assert digit not in counted(client, gateway.model, max_tokens=16, extra_body={"bad_words": [word]})


def test_a_penalty_changes_a_repetitive_answer_and_a_neutral_value_does_not(
    client: OpenAI, gateway: Gateway
) -> None:
    def answer(**options: object) -> str:
        asked = {"model": gateway.model, "prompt": "la la la la la la", "temperature": 0, "max_tokens": 16}
        return client.completions.create(**asked, **options).choices[0].text

    plain = answer()
    assert answer(presence_penalty=0, frequency_penalty=0, extra_body={"repetition_penalty": 1}) == plain
    for penalty in (
        {"presence_penalty": 2},
        {"frequency_penalty": 2},
        {"extra_body": {"repetition_penalty": 1.8}},
    ):
        assert answer(**penalty) != plain, penalty


def test_a_frequency_penalty_grows_with_each_repetition(client: OpenAI, gateway: Gateway) -> None:
    def distinct(penalty: float) -> int:
        completion = client.completions.create(
            model=gateway.model,
            prompt="la la la la la la",
            temperature=0,
            max_tokens=24,
            frequency_penalty=penalty,
        )
        return len(set(completion.choices[0].text.split()))

    assert distinct(2) > distinct(0)


def test_min_tokens_continues_an_answer_past_its_end_and_its_stop_strings(
    client: OpenAI, gateway: Gateway
) -> None:
    asked = {"model": gateway.model, "messages": PARIS, "temperature": 0, "max_tokens": 80, "stop": " is"}
    assert client.chat.completions.create(**asked).usage.completion_tokens < 10
    longer = client.chat.completions.create(**asked, extra_body={"min_tokens": 60})
    assert longer.usage.completion_tokens >= 60
    assert " is" in longer.choices[0].message.content


@pytest.fixture(scope="module")
def full(gateway: Gateway) -> str:
    """The answer to COUNT when nothing stops it."""
    with gateway.client() as client:
        return counted(client, gateway.model, max_tokens=40)


@pytest.mark.parametrize("stop", [", 12", "11, 12", " 1", "2, 1", "9", ["nowhere", "13,", "12"]])
def test_a_stop_string_ends_the_answer_and_is_not_in_it(
    client: OpenAI, gateway: Gateway, full: str, stop: str | list[str]
) -> None:
    strings = [stop] if isinstance(stop, str) else stop
    expected = full[: min(full.find(string) for string in strings if string in full)]
    asked = {"model": gateway.model, "prompt": COUNT, "temperature": 0, "max_tokens": 40, "stop": stop}
    whole = client.completions.create(**asked)
    assert whole.choices[0].text == expected
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens < 40
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_stop_string_that_does_not_occur_removes_nothing(
    client: OpenAI, gateway: Gateway, full: str
) -> None:
    assert counted(client, gateway.model, max_tokens=40, stop=["9, 10, 12", full + "x"]) == full


@pytest.mark.parametrize("shown", [False, True])
def test_a_stop_token_ends_the_answer_before_it_or_with_it(
    client: OpenAI, gateway: Gateway, full: str, shown: bool
) -> None:
    extra = {"stop_token_ids": [COMMA, 5], "include_stop_str_in_output": shown}
    asked = {"model": gateway.model, "prompt": COUNT, "temperature": 0, "max_tokens": 40, "extra_body": extra}
    whole = client.completions.create(**asked, logprobs=0)
    assert whole.choices[0].text == full[: full.find(",") + shown]
    assert whole.choices[0].finish_reason == "stop"
    assert len(whole.choices[0].logprobs.tokens) == whole.usage.completion_tokens
    assert "".join(whole.choices[0].logprobs.tokens) == full[: full.find(",")]
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("field", ["stop", "stop_token_ids"])
def test_a_special_token_that_text_never_shows_ends_the_answer(
    client: OpenAI, gateway: Gateway, field: str
) -> None:
    # The bias makes the model write <|im_start|>, which is no end of a sequence, and nothing else.
    asked = {
        "model": gateway.model,
        "prompt": "Hi",
        "temperature": 0,
        "max_tokens": 8,
        "logit_bias": {"1": 100},
    }
    endless = client.completions.create(**asked)
    assert (endless.choices[0].text, endless.choices[0].finish_reason) == ("", "length")
    given = ["nothing", "<|im_start|>"] if field == "stop" else [1]
    ended = client.completions.create(**asked, extra_body={field: given})
    assert (ended.choices[0].text, ended.choices[0].finish_reason) == ("", "stop")
    assert ended.usage.completion_tokens == 0


def test_a_stop_that_no_answer_can_have_is_an_error(client: OpenAI, gateway: Gateway) -> None:
    for field, value in (("stop", "<|im_end|>\n"), ("stop_token_ids", [49152]), ("stop_token_ids", [-1])):
        with pytest.raises(BadRequestError) as refused:
            counted(client, gateway.model, max_tokens=4, extra_body={field: value})
        assert refused.value.param.startswith(field)
