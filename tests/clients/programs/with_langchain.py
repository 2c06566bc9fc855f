"""LangChain's ChatOpenAI."""

import os

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

MODEL = os.environ["MODEL"]
FRANCE = "What is the capital of France?"
# It reads the address and the key from the environment.
chat = ChatOpenAI(model=MODEL, temperature=0, max_tokens=64)


class City(BaseModel):
    """A city."""

    name: str
    country: str


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It rains in {city}."


def test_invoke() -> None:
    answer = chat.invoke(FRANCE)
    assert "Paris" in answer.text
    assert answer.usage_metadata["output_tokens"] > 0


def test_stream() -> None:
    pieces = list(chat.stream(FRANCE))
    assert len(pieces) > 3
    assert "Paris" in "".join(piece.text for piece in pieces)


def test_batch() -> None:
    assert all("Paris" in answer.text for answer in chat.batch([FRANCE] * 4))


def test_structured_output() -> None:
    city = chat.with_structured_output(City, method="json_schema").invoke(FRANCE)
    assert city.name


def test_tool_loop() -> None:
    bound = chat.bind_tools([weather], tool_choice="required")
    asked = [HumanMessage("How is the weather in Seoul?")]
    call = bound.invoke(asked)
    assert isinstance(call, AIMessage)
    [made] = call.tool_calls
    result = ToolMessage(weather.invoke(made["args"]), tool_call_id=made["id"])
    assert chat.invoke([*asked, call, result]).text


def test_responses_api() -> None:
    answer = ChatOpenAI(model=MODEL, temperature=0, max_tokens=64, use_responses_api=True).invoke(FRANCE)
    assert "Paris" in answer.text


def test_log_probabilities() -> None:
    answer = chat.bind(logprobs=True, top_logprobs=2).invoke(FRANCE)
    assert len(answer.response_metadata["logprobs"]["content"][0]["top_logprobs"]) == 2


def test_completions() -> None:
    assert OpenAI(model=MODEL, temperature=0, max_tokens=8).invoke("The capital of France is")
