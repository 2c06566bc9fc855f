"""The official openai client gets answers as OpenAI's reference describes, from every backend."""

import asyncio
import re
import time

import httpx
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families
from support.gateways import Gateway, of_the_runtime
from support.prompts import COUNT, PARIS
from support.waiting import wait_until

KOREAN = "반갑습니다. 안녕하세요. 반갑습니다. 안녕하세요. 반갑습니다."


# Greedy and without an end of its own: more than a minute of work unless the client ends it.
ENDLESS = {"prompt": COUNT, "temperature": 0, "max_tokens": 8000, "extra_body": {"ignore_eos": True}}


# The share of the prompt in the prefix cache depends on the requests before.
UNCACHED = {"prompt_tokens_details": None}


def test_the_capital_of_france(client: OpenAI, gateway: Gateway) -> None:
    completion = client.chat.completions.create(model=gateway.model, messages=PARIS, temperature=0)
    choice = completion.choices[0]
    assert "Paris" in choice.message.content
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "stop"
    assert completion.object == "chat.completion"
    assert completion.model == gateway.model
    assert completion.id.startswith("chatcmpl-")
    assert abs(completion.created - time.time()) < 60
    usage = completion.usage
    assert usage.completion_tokens > 5
    assert usage.prompt_tokens > 20, "the template's tokens count too"
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_an_answer_without_max_tokens_ends_by_itself(client: OpenAI, gateway: Gateway) -> None:
    asked = [{"role": "user", "content": "Explain in three sentences why the sky is blue."}]
    completion = client.chat.completions.create(model=gateway.model, messages=asked, temperature=0)
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens > 16, "OpenAI's old default for completions"


def test_a_streamed_answer_equals_the_whole_one(client: OpenAI, gateway: Gateway) -> None:
    whole = client.chat.completions.create(model=gateway.model, messages=PARIS, temperature=0)
    chunks = list(
        client.chat.completions.create(
            model=gateway.model,
            messages=PARIS,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    first, *texts, last, usage = chunks
    assert first.choices[0].delta.role == "assistant"
    assert not first.choices[0].delta.content
    assert all(chunk.choices[0].delta.content for chunk in texts), "no chunk without content"
    assert all(chunk.choices[0].delta.role is None for chunk in texts)
    assert all(chunk.choices[0].finish_reason is None for chunk in [first, *texts])
    assert last.choices[0].finish_reason == "stop"
    assert not last.choices[0].delta.content
    assert usage.choices == []
    assert usage.usage.model_copy(update=UNCACHED) == whole.usage.model_copy(update=UNCACHED)
    assert all(chunk.usage is None for chunk in [first, *texts, last])
    assert "".join(chunk.choices[0].delta.content for chunk in texts) == whole.choices[0].message.content
    assert {chunk.id for chunk in chunks} == {first.id}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


@of_the_runtime
def test_a_repeated_prompt_is_reported_as_cached(client: OpenAI, gateway: Gateway) -> None:
    def ask() -> tuple[str, object]:
        completion = client.completions.create(
            model=gateway.model, prompt=f"{COUNT} {COUNT} again", max_tokens=4, temperature=0
        )
        return completion.choices[0].text, completion.usage.prompt_tokens_details

    first, _ = ask()
    second, details = ask()
    assert second == first
    assert details.cached_tokens > 16


def test_usage_is_streamed_only_on_request(client: OpenAI, gateway: Gateway) -> None:
    chunks = client.chat.completions.create(model=gateway.model, messages=PARIS, max_tokens=3, stream=True)
    assert all("usage" not in chunk.model_fields_set and chunk.choices for chunk in chunks)


def test_a_stream_is_framed_as_server_sent_events(gateway: Gateway) -> None:
    body = {"model": gateway.model, "messages": PARIS, "max_tokens": 3, "stream": True}
    response = gateway.post("/v1/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-request-id"]
    *events, done, end = response.text.split("\n\n")
    assert all(event.startswith("data: {") and "\n" not in event for event in events)
    assert (done, end) == ("data: [DONE]", "")


def test_a_completion_continues_the_prompt(client: OpenAI, gateway: Gateway) -> None:
    completion = client.completions.create(
        model=gateway.model, prompt=COUNT, max_tokens=8, temperature=0, extra_body={"top_k": 5}
    )
    assert completion.choices[0].text.startswith(" 9, 10,")
    assert completion.choices[0].finish_reason == "length"
    assert completion.object == "text_completion"
    assert completion.usage.completion_tokens == 8
    chunks = list(
        client.completions.create(model=gateway.model, prompt=COUNT, max_tokens=8, temperature=0, stream=True)
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == completion.choices[0].text
    assert chunks[-1].choices[0].finish_reason == "length"


def test_both_names_of_max_tokens_limit_the_answer(client: OpenAI, gateway: Gateway) -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        completion = client.chat.completions.create(
            model=gateway.model, messages=PARIS, temperature=0, **{name: 5}
        )
        assert completion.usage.completion_tokens == 5
        assert completion.choices[0].finish_reason == "length"


def test_ignore_eos_gives_exactly_max_tokens(client: OpenAI, gateway: Gateway) -> None:
    completion = client.chat.completions.create(
        model=gateway.model, messages=PARIS, temperature=0, max_tokens=64, extra_body={"ignore_eos": True}
    )
    assert completion.usage.completion_tokens == 64
    assert completion.choices[0].finish_reason == "length"


def test_korean_text_is_complete_streamed_or_not(client: OpenAI, gateway: Gateway) -> None:
    asked = {"model": gateway.model, "prompt": KOREAN, "temperature": 0, "max_tokens": 48}
    whole = client.completions.create(**asked).choices[0].text
    pieces = [chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)]
    assert "".join(pieces) == whole
    assert " 안녕하세요. 반갑습니다. 안녕하세요." in whole
    # Each syllable is several tokens, so max_tokens may cut the last one: it is left out.
    assert "\ufffd" not in whole


def test_a_korean_conversation_gets_an_answer(client: OpenAI, gateway: Gateway) -> None:
    messages = [
        {"role": "system", "content": "너는 친절한 조수야. 😀"},
        {"role": "user", "content": "안녕? 내 이름은 민수야."},
        {"role": "assistant", "content": "안녕, 민수!"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "내 이름이"}, {"type": "text", "text": "뭐야?"}],
        },
    ]
    completion = client.chat.completions.create(
        model=gateway.model, messages=messages, temperature=0, max_tokens=16
    )
    assert completion.choices[0].message.content


async def test_sixteen_concurrent_requests_get_the_answers_of_single_ones(gateway: Gateway) -> None:
    prompts = [f"Write one sentence about the number {number}." for number in range(16)]
    async with gateway.async_client() as client:

        async def ask(prompt: str) -> tuple[str, str, int]:
            completion = await client.chat.completions.create(
                model=gateway.model,
                messages=[{"role": "user", "content": prompt}],
                temperature=0,
                max_tokens=12,
            )
            choice = completion.choices[0]
            return choice.message.content, choice.finish_reason, completion.usage.completion_tokens

        alone = [await ask(prompt) for prompt in prompts]
        together = await asyncio.gather(*(ask(prompt) for prompt in prompts))
    assert together == alone
    assert len(set(alone)) > 8, "the prompts have different answers"


async def test_many_clients_that_leave_free_all_slots(gateway: Gateway) -> None:
    async with gateway.async_client() as client:

        async def leave_after_a_word() -> None:
            stream = await client.completions.create(model=gateway.model, stream=True, **ENDLESS)
            async for _ in stream:
                break
            await stream.close()

        await asyncio.gather(*(leave_after_a_word() for _ in range(24)))
    wait_until(lambda: gateway.running_requests() == 0)


def test_the_models_that_are_ready_are_listed(client: OpenAI, gateway: Gateway) -> None:
    (model,) = client.models.list().data
    assert model.model_extra == {
        "root": gateway.model,
        "max_model_len": gateway.limits.max_seq_len,
        "default_max_tokens": gateway.default_max_tokens,
    }
    assert model.id == gateway.model
    assert model.object == "model"
    assert client.models.retrieve(gateway.model) == model


def test_health_says_live_and_ready(gateway: Gateway) -> None:
    for path in ("live", "ready"):
        assert httpx.get(f"{gateway.url}/health/{path}").json() == {"status": path}


def test_requests_are_counted_and_timed(client: OpenAI, gateway: Gateway) -> None:
    def counts() -> list[float]:
        page = httpx.get(f"{gateway.url}/metrics").text
        samples = [each for family in text_string_to_metric_families(page) for each in family.samples]
        of_model = [each for each in samples if each.labels.get("model") == gateway.model]
        answered = [each for each in of_model if each.labels.get("status") in (None, "200")]
        return [
            sum(each.value for each in answered if each.name == f"slipway_{name}")
            for name in ("requests_total", "time_to_first_token_seconds_count", "request_seconds_count")
        ]

    before = counts()
    client.completions.create(model=gateway.model, prompt=COUNT, max_tokens=1, n=2)
    assert [after - then for then, after in zip(before, counts(), strict=True)] == [1, 2, 1]


def test_an_answer_can_continue_the_last_message(client: OpenAI, gateway: Gateway) -> None:
    messages = [*PARIS, {"role": "assistant", "content": "The capital of France"}]
    completion = client.chat.completions.create(
        model=gateway.model,
        messages=messages,
        max_tokens=3,
        temperature=0,
        extra_body={"continue_final_message": True, "chat_template_kwargs": {"unused": 1}},
    )
    assert completion.choices[0].message.content == " is Paris."


def test_a_prompt_can_end_without_a_generation_prompt(client: OpenAI, gateway: Gateway) -> None:
    lengths = [
        client.chat.completions.create(
            model=gateway.model, messages=PARIS, max_tokens=1, extra_body={"add_generation_prompt": opened}
        ).usage.prompt_tokens
        for opened in (True, False)
    ]
    assert lengths[0] > lengths[1]


def test_the_api_is_documented(gateway: Gateway) -> None:
    document = httpx.get(f"{gateway.url}/openapi.json").json()
    for path, field in (
        ("/v1/chat/completions", "messages"),
        ("/v1/completions", "prompt"),
        ("/v1/messages", "system"),
        ("/v1/responses", "input"),
    ):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        name = body["schema"]["$ref"].rsplit("/", 1)[1]
        assert field in document["components"]["schemas"][name]["properties"]


def test_the_page_of_the_documentation_needs_no_other_server(gateway: Gateway) -> None:
    page = httpx.get(f"{gateway.url}/docs")
    files = re.findall(r"""(?:src=|href=|url: )["']([^"']+)["']""", page.text)
    wanted = [str(page.url.join(file)) for file in files if not file.startswith("data:")]
    assert len(wanted) == 3
    for url in wanted:
        assert url.startswith(gateway.url)
        assert httpx.get(url).status_code == 200


@of_the_runtime
def test_draft_tokens_and_accepted_ones_are_counted(client: OpenAI, gateway: Gateway) -> None:
    names = ("slipway_draft_tokens_total", "slipway_accepted_draft_tokens_total")
    before = [gateway.metric(name) for name in names]
    prompt = "one two three four, " * 12
    client.completions.create(
        model=gateway.model, prompt=prompt, max_tokens=100, temperature=0, extra_body={"ignore_eos": True}
    )
    wait_until(lambda: gateway.metric(names[1]) > before[1])
    drafted, accepted = (gateway.metric(name) - old for name, old in zip(names, before, strict=True))
    assert 0 < accepted <= drafted
