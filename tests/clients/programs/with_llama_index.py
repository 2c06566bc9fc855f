"""LlamaIndex's OpenAILike."""

import os
from typing import Literal

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

FRANCE = "What is the capital of France?"
llm = OpenAILike(
    model=os.environ["MODEL"],
    api_base=os.environ["OPENAI_BASE_URL"],
    api_key="unused",
    is_chat_model=True,
    is_function_calling_model=True,
    temperature=0,
    max_tokens=64,
)


class City(BaseModel):
    """A city."""

    name: Literal["Paris", "Rome"]


def test_chat() -> None:
    assert "Paris" in llm.chat([ChatMessage(role="user", content=FRANCE)]).message.content


def test_streamed_chat() -> None:
    pieces = list(llm.stream_chat([ChatMessage(role="user", content=FRANCE)]))
    assert "Paris" in pieces[-1].message.content


def test_completion() -> None:
    plain = llm.model_copy(update={"is_chat_model": False})
    assert plain.complete("The capital of France is").text


def test_tool_call() -> None:
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"It rains in {city}."

    tool = FunctionTool.from_defaults(weather)
    answer = llm.chat_with_tools([tool], user_msg="How is the weather in Seoul?", tool_required=True)
    [call] = llm.get_tool_calls_from_response(answer)
    assert call.tool_name == "weather"


def test_structured_output() -> None:
    answer = llm.as_structured_llm(City).complete(FRANCE)
    assert answer.raw.name in ("Paris", "Rome")
