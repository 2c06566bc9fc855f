"""The body of POST /v1/chat/completions; read by `gateway.app`. What it answers: `chat_reply`."""

from typing import Annotated, Literal

from pydantic import Discriminator, FailFast, Field, JsonValue, Tag

from slipway.gateway.api.body import TEXT_ONLY, Body, GenerationBody, Ignored, NonEmpty, either, only
from slipway.gateway.api.tools import EarlierCall, NamedChoice, Tool, ToolChoice
from slipway.gateway.bounds import MAX_MESSAGES, MAX_PARTS, MAX_TOOLS, MAX_TOP_LOGPROBS

_OLD = "OpenAI's old name; use tools, tool_choice and tool_calls"


class TextPart(Body):
    """A piece of a message's content; parts are joined by line breaks."""

    type: Annotated[JsonValue, only("text", advice=TEXT_ONLY)]
    text: str
    prompt_cache_breakpoint: Ignored = None


class Message(Body):
    """One turn of a conversation; `name` reaches the chat template, which may use it.

    content: null beside tool_calls alone. tool_call_id: in a tool's turn, of the call it answers.
    The fields after `name` are what a client sends when it gives an earlier answer back whole. parsed: what
        OpenAI's client read in `content`.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: (
        Annotated[
            Annotated[str, Tag("(string)")]
            | Annotated[list[TextPart], Field(min_length=1, max_length=MAX_PARTS), Tag("(list)")],
            Discriminator(
                either(string=str, list=list),
                custom_error_type="content_type",
                custom_error_message="must be a string or a list of text parts",
            ),
        ]
        | None
    ) = None
    tool_call_id: NonEmpty | None = None
    name: str | None = None
    reasoning_content: str | None = None
    refusal: Annotated[JsonValue, only(advice="refusals are not offered; leave it out")] = None
    annotations: Annotated[JsonValue, only([], advice=TEXT_ONLY)] = None
    audio: Annotated[JsonValue, only(advice=TEXT_ONLY)] = None
    tool_calls: Annotated[list[EarlierCall], Field(max_length=MAX_PARTS)] | None = None
    parsed: Ignored = None
    function_call: Annotated[JsonValue, only(advice=_OLD)] = None

    @property
    def text(self) -> str | None:
        """The content, its parts joined."""
        if self.content is None or isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class ChatCompletionRequest(GenerationBody):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[Message], FailFast()] = Field(
        min_length=1,
        max_length=MAX_MESSAGES,
        description="The conversation; the model's own chat template makes a prompt of it.",
    )
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = Field(
        None, description="OpenAI's newer name of max_tokens."
    )

    chat_template_kwargs: dict[str, JsonValue] | None = Field(
        None, description="Variables of the model's chat template, as `enable_thinking` of Qwen3."
    )
    add_generation_prompt: bool | None = Field(
        None,
        description="False ends the prompt with the last message; by default the answer's turn is opened.",
    )
    continue_final_message: bool | None = Field(
        None, description="The answer goes on with the last message, which is the assistant's."
    )

    logprobs: bool | None = Field(None, description="Tell the log-probability of each token of the answer.")
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None, description="With each, tell so many of the likeliest tokens in its place; needs logprobs."
    )
    tools: list[Tool] | None = Field(
        None,
        max_length=MAX_TOOLS,
        fail_fast=True,
        description="What the model may call; its calls come in the answer, the client makes them.",
    )
    tool_choice: ToolChoice | None = Field(
        None,
        description="auto (the default where there are tools) lets the model decide, required and a named "
        "function enforce calls by a grammar, none takes the tools away.",
    )
    parallel_tool_calls: bool | None = Field(None, description="False: one call at most; default true.")
    functions: Annotated[JsonValue, only([], advice=_OLD)] = None
    function_call: Annotated[JsonValue, only("none", "auto", advice=_OLD)] = None
    modalities: Annotated[JsonValue, only(["text"], advice=TEXT_ONLY)] = None
    audio: Annotated[JsonValue, only(advice=TEXT_ONLY)] = None
    reasoning_effort: Annotated[JsonValue, only("none", advice="not offered; leave it out")] = None
    verbosity: Annotated[JsonValue, only("medium", advice="not offered; leave it out")] = None
    web_search_options: Annotated[JsonValue, only(advice="not offered; leave it out")] = None
    moderation: Annotated[JsonValue, only(advice="not offered; leave it out")] = None

    prediction: Ignored = None
    service_tier: Literal["auto", "default", "flex", "priority", "scale"] | None = Field(
        None, description="Accepted; all requests are served alike, and the answer then says `default`."
    )
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    store: Ignored = None

    @property
    def offered(self) -> list[Tool]:
        """The tools that the answer may call."""
        return [] if self.tool_choice == "none" else self.tools or []

    @property
    def enforces_calls(self) -> bool:
        """Whether the answer must be calls."""
        return self.tool_choice == "required" or isinstance(self.tool_choice, NamedChoice)

    @property
    def likeliest(self) -> int | None:
        """See `GenerationBody.likeliest`."""
        return (self.top_logprobs or 0) if self.logprobs else None
