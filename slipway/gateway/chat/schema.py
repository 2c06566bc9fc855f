"""The body of POST /v1/chat/completions."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import FailFast, Field, JsonValue, Tag

from slipway.contract.errors import InvalidRequest
from slipway.gateway.bounds import MAX_MESSAGES, MAX_PARTS, MAX_TOOLS, MAX_TOP_LOGPROBS
from slipway.gateway.chat.tools import ChatTool, ChatToolChoice, EarlierCall, NamedChoice
from slipway.gateway.errors import MissingField
from slipway.gateway.query import (
    Call,
    Conversation,
    Effort,
    Message,
    Query,
    Thinking,
    read_arguments,
)
from slipway.gateway.shapes.body import (
    EFFORT,
    LEAVE_OUT,
    TEXT_ONLY,
    UNUSED,
    Body,
    Ignored,
    NonEmpty,
    Verbosity,
    either,
    only,
    selected,
)
from slipway.gateway.shapes.generation import GenerationBody

_OLD = "OpenAI's old name; use tools, tool_choice and tool_calls"


class TextPart(Body):
    """A piece of a message's content; parts are joined by line breaks."""

    type: Annotated[JsonValue, only("text", advice=TEXT_ONLY)]
    text: str
    prompt_cache_breakpoint: Ignored = None


class ChatMessage(Body):
    """One turn of a conversation; `name` reaches the chat template, which may use it.

    content: null beside tool_calls or thoughts only. tool_call_id: the call that a tool's message answers.
    The fields after `name` are those of an earlier answer that the client sends back; `reasoning` is another
    name of reasoning_content. parsed: what OpenAI's client read in `content`.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: (
        Annotated[
            Annotated[str, Tag("(string)")]
            | Annotated[list[TextPart], Field(min_length=1, max_length=MAX_PARTS), Tag("(list)")],
            selected(either(string=str, list=list), "must be a string or a list of text parts"),
        ]
        | None
    ) = None
    tool_call_id: NonEmpty | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: Annotated[JsonValue, only(advice="refusals are not offered; leave it out")] = None
    annotations: Annotated[JsonValue, only([], advice=TEXT_ONLY)] = None
    audio: Annotated[JsonValue, only(advice=TEXT_ONLY)] = None
    tool_calls: Annotated[list[EarlierCall], Field(max_length=MAX_PARTS)] | None = None
    parsed: Ignored = None
    function_call: Annotated[JsonValue, only(advice=_OLD)] = None

    def message(self, source: str) -> Message:
        """As a query has it. source: the client's field that has this message.

        Raises InvalidRequest where the message lacks something or has too much.
        """
        reasoning = self.reasoning_content or self.reasoning
        only_thinks = self.role == "assistant" and reasoning
        if self.content is None and not self.tool_calls and not only_thinks:
            raise MissingField(
                f"{source}.content is missing; only an assistant's turn with tool_calls can do without.",
                f"{source}.content",
            )
        if self.tool_calls and self.role != "assistant":
            raise InvalidRequest(
                f"{source}.tool_calls is given, but only the assistant calls tools, and the turn is the "
                f"{self.role}'s; leave it out.",
                f"{source}.tool_calls",
            )
        if (self.role == "tool") != (self.tool_call_id is not None):
            wrong = (
                "is missing; a tool's turn says which call it answers"
                if self.role == "tool"
                else f"is given, but the turn is the {self.role}'s; leave it out"
            )
            raise InvalidRequest(f"{source}.tool_call_id {wrong}.", f"{source}.tool_call_id")
        calls = tuple(
            Call(call.id, call.function.name, read_arguments(call.function.arguments))
            for call in self.tool_calls or ()
        )
        text = self.content
        if isinstance(text, list):
            text = "\n".join(part.text for part in text)
        return Message(self.role, text, calls, self.tool_call_id, self.name, reasoning)


def read_messages(messages: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """The field `messages` as a query has it. Raises InvalidRequest."""
    return tuple(message.message(f"messages[{index}]") for index, message in enumerate(messages))


class ChatCompletionRequest(GenerationBody):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], FailFast()] = Field(
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

    logprobs: bool | None = Field(None, description="Report the log-probability of each token of the answer.")
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = Field(
        None, description="How many of the likeliest tokens to report with each token; needs logprobs."
    )
    tools: list[ChatTool] | None = Field(
        None,
        max_length=MAX_TOOLS,
        fail_fast=True,
        description="What the model may call; its calls come in the answer, the client makes them.",
    )
    tool_choice: ChatToolChoice | None = Field(
        None,
        description="auto (the default where there are tools) lets the model decide, required and a named "
        "function enforce calls by a grammar, none takes the tools away.",
    )
    parallel_tool_calls: bool | None = Field(None, description="False: one call at most; default true.")
    functions: Annotated[JsonValue, only([], advice=_OLD)] = None
    function_call: Annotated[JsonValue, only("none", "auto", advice=_OLD)] = None
    modalities: Annotated[JsonValue, only(["text"], advice=TEXT_ONLY)] = None
    audio: Annotated[JsonValue, only(advice=TEXT_ONLY)] = None
    reasoning_effort: Effort | None = Field(None, description=EFFORT)
    verbosity: Annotated[Verbosity | None, UNUSED] = None
    web_search_options: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None
    moderation: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None

    prediction: Ignored = None
    service_tier: Literal["auto", "default", "flex", "priority", "scale"] | None = Field(
        None, description="Accepted; all requests are served alike, and the answer then says `default`."
    )
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    store: Ignored = None

    def query(self) -> Query:
        """What it asks for. Raises InvalidRequest where fields contradict each other."""
        fields = self.query_fields()
        if self.max_completion_tokens is not None:
            if self.max_tokens not in (None, self.max_completion_tokens):
                raise InvalidRequest(
                    f"max_tokens is {self.max_tokens} and max_completion_tokens is "
                    f"{self.max_completion_tokens}; they mean the same, give one of them.",
                    "max_completion_tokens",
                )
            fields["max_tokens"] = self.max_completion_tokens
            fields["source"]["max_tokens"] = "max_completion_tokens"
        conversation = self._conversation()
        self._check_structured_outputs(conversation)
        if self.continue_final_message:
            self._check_continuation()
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs: true.", "top_logprobs")
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        return Query(prompt=conversation, logprobs=logprobs, **fields)

    def _conversation(self) -> Conversation:
        choice = self.tool_choice or "auto"
        named = choice.function.name if isinstance(choice, NamedChoice) else None
        return Conversation(
            messages=read_messages(self.messages),
            tools=tuple(tool.tool(f"tools[{index}]") for index, tool in enumerate(self.tools or ())),
            tool_choice="required" if isinstance(choice, NamedChoice) else choice,
            only_tool=named,
            parallel_calls=self.parallel_tool_calls is not False,
            template_variables=self.chat_template_kwargs or {},
            thinking=Thinking(self.reasoning_effort),
            open_turn=self.add_generation_prompt is not False,
            continue_last=bool(self.continue_final_message),
        )

    def _check_structured_outputs(self, conversation: Conversation) -> None:
        # A response_format beside tools is what an answer in words must be; agents send it with every turn.
        if self.structured_outputs is None:
            return
        if conversation.must_call:
            raise InvalidRequest(
                "tool_choice and structured_outputs both say what the answer must be; give one of them.",
                "tool_choice",
            )
        if conversation.offered:
            raise InvalidRequest(
                "structured_outputs binds the answer, so that none of the tools could be called; leave one "
                "of both out, or give a schema with response_format, beside which tools can be called.",
                "structured_outputs",
            )

    def _check_continuation(self) -> None:
        if self.add_generation_prompt:
            raise InvalidRequest(
                "continue_final_message and add_generation_prompt are both true, but the answer goes on with "
                "the last message or begins a turn of its own; give one of them.",
                "continue_final_message",
            )
        if self.messages[-1].role != "assistant":
            raise InvalidRequest(
                f"continue_final_message is true, but the last message is the {self.messages[-1].role}'s, "
                "and the model goes on only with its own; put the beginning of its answer last, as the "
                "assistant's.",
                "continue_final_message",
            )
