"""LiteLLM as a client."""

import os

import litellm
from litellm import completion

MODEL = f"openai/{os.environ['MODEL']}"
MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
COMMON = {"model": MODEL, "messages": MESSAGES, "temperature": 0, "max_tokens": 64}


def test_completion() -> None:
    answer = completion(**COMMON)
    assert "Paris" in answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def test_stream() -> None:
    pieces = [chunk.choices[0].delta.content or "" for chunk in completion(**COMMON, stream=True)]
    assert "Paris" in "".join(pieces)


def test_tool_call() -> None:
    answer = completion(**COMMON, tools=[WEATHER], tool_choice="required")
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"


def test_text_completion() -> None:
    asked = {"model": f"text-completion-{MODEL}", "prompt": "The capital of France is", "max_tokens": 8}
    assert litellm.text_completion(**asked).choices[0].text


def test_responses() -> None:
    asked = {"model": MODEL, "input": MESSAGES[0]["content"], "temperature": 0, "max_output_tokens": 64}
    assert "Paris" in litellm.responses(**asked).output_text


def test_anthropic_messages() -> None:
    asked = {"model": f"anthropic/{os.environ['MODEL']}", "api_base": os.environ["BASE_URL"]}
    answer = completion(**{**COMMON, **asked}, api_key="unused")
    assert "Paris" in answer.choices[0].message.content
