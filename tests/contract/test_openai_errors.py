"""The official client gets OpenAI's error for each wrong request, and the server goes on."""

import json
from collections.abc import Iterator

import httpx
import openai
import pytest
from openai import OpenAI
from support.gateways import Gateway

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True, scope="module")
def server_goes_on(gateway: Gateway) -> Iterator[None]:
    yield
    with gateway.client() as client:
        assert client.completions.create(model=gateway.model, prompt="Hi", max_tokens=1).choices


def error_of(response: httpx.Response, status: int) -> dict[str, object]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith((".", "…"))
    return error


def test_an_unknown_model_is_not_found(client: OpenAI, gateway: Gateway) -> None:
    for endpoint, prompt in (
        (client.chat.completions, {"messages": HI}),
        (client.completions, {"prompt": "Hi"}),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            endpoint.create(model="gpt-9", **prompt)
        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"
        assert gateway.model in caught.value.message, "the models that there are"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"extra_body": {"repetition_penalty": 0}}, "repetition_penalty"),
        ({"max_tokens": 4, "extra_body": {"min_tokens": 5}}, "min_tokens"),
        ({"extra_body": {"min_p": 1.1}}, "min_p"),
        ({"logit_bias": {"49152": 1}}, "logit_bias"),
        ({"n": 129}, "n"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"extra_body": {"structured_outputs": {"regex": "a", "choice": ["a"]}}}, "structured_outputs"),
        ({"messages": []}, "messages"),
        ({"extra_body": {"continue_final_message": True}}, "continue_final_message"),
        ({"extra_body": {"chat_template_kwargs": {"tools": []}}}, "chat_template_kwargs"),
        ({"extra_body": {"chat_template_kwargs": "thinking"}}, "chat_template_kwargs"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"extra_body": {"temprature": 1}}, "temprature"),
        ({"extra_body": {"temperature": "hot"}}, "temperature"),
        ({"extra_body": {"stream": "yes"}}, "stream"),
    ],
)
def test_a_bad_field_is_named(
    client: OpenAI, gateway: Gateway, fields: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**({"model": gateway.model, "messages": HI} | fields))
    assert caught.value.param == param
    assert param in caught.value.message
    assert caught.value.type == "invalid_request_error"
    assert caught.value.code


def test_a_bad_field_of_a_streamed_request_is_an_error_before_the_stream(
    client: OpenAI, gateway: Gateway
) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=gateway.model, messages=HI, stream=True, temperature=3)


def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(
    client: OpenAI, gateway: Gateway
) -> None:
    longest = gateway.limits.max_input_len
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=gateway.model, prompt="one" + " one" * longest)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "prompt"
    assert f"{longest + 1} tokens" in caught.value.message
    assert f"takes {longest} at most" in caught.value.message
    with pytest.raises(openai.BadRequestError, match="shorten it"):
        client.completions.create(model=gateway.model, prompt="안녕 " * 200_000)


def test_more_tokens_than_the_context_leaves_are_refused(client: OpenAI, gateway: Gateway) -> None:
    context = gateway.limits.max_seq_len
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model=gateway.model, prompt="one two three", max_tokens=context)
    assert caught.value.param == "max_tokens"
    assert f"max_tokens is {context}" in caught.value.message
    assert f"leave {context - 3} of" in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"model": "m", "prompt": "\xff\xfe"}',
        b'{"model": "m", "prompt": "\\udc00"}',
        b"[" * 1_000_000,
        b'{"prompt":' * 200_000,
        b'{"model": "m", "prompt": "x", "max_tokens": ' + b"9" * 1_000_000 + b"}",
        b"[]",
        b"null",
        b'{"model": "m", "prompt": "x", "temperature": NaN}',
        b'{"model": "m", "prompt": "x", "temperature": 1e999}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_not_a_request_is_refused(gateway: Gateway, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    error_of(gateway.post("/v1/completions", content=body, headers=headers), 400)


def test_a_prompt_can_have_any_character(client: OpenAI, gateway: Gateway) -> None:
    prompt = "\0 \u202e \U0001f600 \ufffd \x7f <|im_start|>"
    assert client.completions.create(model=gateway.model, prompt=prompt, max_tokens=4).usage.prompt_tokens


def test_a_body_over_the_limit_is_refused_declared_or_in_chunks(gateway: Gateway) -> None:
    headers = {"content-type": "application/json"}
    large = json.dumps({"model": gateway.model, "prompt": "x" * 5_000_000}).encode()
    in_chunks = (large[at : at + 65536] for at in range(0, len(large), 65536))
    for body in (large, in_chunks):
        error = error_of(gateway.post("/v1/completions", content=body, headers=headers), 413)
        assert "4194304" in str(error["message"])


def test_a_body_that_is_not_declared_as_json_is_refused(gateway: Gateway) -> None:
    body = json.dumps({"model": gateway.model, "prompt": "Hi"})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        error_of(gateway.post("/v1/completions", content=body, headers={"content-type": kind}), 415)


def test_other_paths_and_methods_are_refused_in_openais_shape(gateway: Gateway) -> None:
    error_of(httpx.get(f"{gateway.url}/v1/nothing"), 404)
    error_of(httpx.get(f"{gateway.url}/v1/models/"), 404)
    response = httpx.get(f"{gateway.url}/v1/chat/completions")
    error_of(response, 405)
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/v1/chat/completions", "/v1/chat/completions/"])
def test_the_error_for_a_path_close_to_an_endpoint_names_the_endpoint(gateway: Gateway, path: str) -> None:
    error = error_of(gateway.post(path, json={}), 404)
    assert "; /v1/chat/completions is." in str(error["message"])
