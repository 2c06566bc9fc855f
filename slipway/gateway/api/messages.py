"""POST /v1/messages, Anthropic's API: its body, and the chat that it asks for; read by `gateway.app`."""

import json
from typing import Annotated, Literal

from pydantic import Discriminator, FailFast, Field, JsonValue, Tag

from slipway.contract.errors import InvalidRequest
from slipway.gateway.api.body import (
    LEAVE_OUT,
    TEXT_ONLY,
    Addressed,
    Body,
    Ignored,
    NonEmpty,
    Waiting,
    either,
    of_type,
    only,
)
from slipway.gateway.bounds import MAX_MESSAGES, MAX_PARTS, MAX_STOP_STRINGS, MAX_TOOLS
from slipway.gateway.translation import Translation


class TextBlock(Body):
    """Something said, or a piece of it."""

    type: Literal["text"]
    text: str
    citations: Annotated[JsonValue, only([], advice=TEXT_ONLY)] = None
    cache_control: Ignored = None


_Texts = Annotated[list[TextBlock], Field(max_length=MAX_PARTS)]


class ToolUseBlock(Body):
    """A call that the model made in an earlier answer."""

    type: Literal["tool_use"]
    id: NonEmpty
    name: NonEmpty
    input: dict[str, JsonValue]
    caller: Ignored = None
    toolset_name: Ignored = None
    cache_control: Ignored = None


class ToolResultBlock(Body):
    """What a call gave back."""

    type: Literal["tool_result"]
    tool_use_id: NonEmpty
    content: (
        Annotated[
            Annotated[str, Tag("(string)")] | Annotated[_Texts, Tag("(list)")],
            Discriminator(
                either(string=str, list=list),
                custom_error_type="content_type",
                custom_error_message="must be a string or a list of text blocks",
            ),
        ]
        | None
    ) = None
    is_error: bool | None = None
    toolset_name: Ignored = None
    cache_control: Ignored = None


class ThinkingBlock(Body):
    """What the model thought in an earlier answer; it is not shown to it again."""

    type: Literal["thinking"]
    thinking: Ignored
    signature: Ignored = None


class RedactedThinkingBlock(Body):
    """The same, as Anthropic's servers hide it."""

    type: Literal["redacted_thinking"]
    data: Ignored = None


_BLOCKS = ("text", "tool_use", "tool_result", "thinking", "redacted_thinking")


Block = Annotated[
    Annotated[TextBlock, Tag("(text)")]
    | Annotated[ToolUseBlock, Tag("(tool_use)")]
    | Annotated[ToolResultBlock, Tag("(tool_result)")]
    | Annotated[ThinkingBlock, Tag("(thinking)")]
    | Annotated[RedactedThinkingBlock, Tag("(redacted_thinking)")],
    Discriminator(
        of_type(*_BLOCKS),
        custom_error_type="block_type",
        custom_error_message=f"must be a block whose type is one of {', '.join(_BLOCKS)}, as {TEXT_ONLY}",
    ),
]


class Message(Body):
    """One turn of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[
        Annotated[str, Tag("(string)")] | Annotated[list[Block], Field(max_length=MAX_PARTS), Tag("(list)")],
        Discriminator(
            either(string=str, list=list),
            custom_error_type="content_type",
            custom_error_message="must be a string or a list of blocks",
        ),
    ]


class Tool(Body):
    """A tool of the client's."""

    type: Annotated[
        JsonValue, only("custom", advice="tools that run on Anthropic's servers are not offered")
    ] = None
    name: NonEmpty
    description: str | None = None
    input_schema: dict[str, JsonValue]
    strict: bool | None = None
    cache_control: Ignored = None
    eager_input_streaming: Ignored = None
    allowed_callers: Annotated[JsonValue, only([], ["direct"], advice=LEAVE_OUT)] = None
    defer_loading: Annotated[JsonValue, only(False, advice=LEAVE_OUT)] = None
    input_examples: Annotated[JsonValue, only([], advice="not offered; put them in description")] = None


class ToolChoice(Body):
    """name: with the type `tool` alone."""

    type: Literal["auto", "any", "tool", "none"]
    name: NonEmpty | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Body):
    """Models that think in tags do as they were trained to; the server does not make them."""

    type: Annotated[
        JsonValue,
        only("disabled", "adaptive", advice="how long a model thinks cannot be set; leave thinking out"),
    ]
    display: Ignored = None
    budget_tokens: Ignored = None


class OutputFormat(Body):
    """The answer is a JSON document that is valid under the schema."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]


class OutputConfig(Body):
    """What the answer is like."""

    format: OutputFormat | None = None
    effort: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None


class CountTokensRequest(Addressed):
    """The body of POST /v1/messages/count_tokens: what a prompt is made of."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES), FailFast()]
    system: (
        Annotated[
            Annotated[str, Tag("(string)")] | Annotated[_Texts, Tag("(list)")],
            Discriminator(
                either(string=str, list=list),
                custom_error_type="system_type",
                custom_error_message="must be a string or a list of text blocks",
            ),
        ]
        | None
    ) = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    mcp_servers: Annotated[JsonValue, only([], advice=LEAVE_OUT)] = None
    context_management: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None
    cache_control: Ignored = None
    speed: Annotated[JsonValue, only("standard", advice=LEAVE_OUT)] = None

    def translation(self) -> Translation:
        """The chat that it asks for. Raises InvalidRequest where blocks are not where they belong."""
        chat = Translation()
        chat.put("model", self.model, "model")
        if self.system:
            chat.say({"role": "system", "content": _joined(self.system)}, "system")
        for index, message in enumerate(self.messages):
            _say(chat, message, f"messages[{index}]")
        if chat.turns and chat.turns[-1]["role"] == "assistant":
            # The beginning of the answer, which Anthropic's API goes on from.
            chat.put("continue_final_message", True, f"messages[{len(self.messages) - 1}]")
        for index, tool in enumerate(self.tools or ()):
            function: dict[str, JsonValue] = {"name": tool.name, "parameters": tool.input_schema}
            optional = {"description": tool.description, "strict": tool.strict}
            function |= {name: value for name, value in optional.items() if value is not None}
            chat.tool(function, f"tools[{index}]", "input_schema")
        if self.tool_choice is not None:
            _choose(chat, self.tool_choice)
        if self.output_config is not None and self.output_config.format is not None:
            schema: JsonValue = {"name": "answer", "schema": self.output_config.format.schema_}
            chat.put(
                "response_format", {"type": "json_schema", "json_schema": schema}, "output_config.format"
            )
        return chat


class MessagesRequest(CountTokensRequest, Waiting):
    """The body of POST /v1/messages."""

    max_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="0 is greedy; default 1."
    )
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = Field(None, description="0 keeps all tokens.")
    stop_sequences: Annotated[list[NonEmpty], Field(max_length=MAX_STOP_STRINGS)] | None = None
    stream: bool | None = None
    container: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None
    thread: Annotated[JsonValue, only(advice="conversations are not kept; send all messages")] = None

    metadata: Ignored = None
    service_tier: Ignored = None
    inference_geo: Ignored = None
    diagnostics: Ignored = None

    def translation(self) -> Translation:
        """See `CountTokensRequest.translation`."""
        chat = super().translation()
        for name in ("max_tokens", "temperature", "top_p", "top_k", "stream", "priority"):
            chat.put(name, getattr(self, name), name)
        if self.stop_sequences:
            chat.put("stop", list(self.stop_sequences), "stop_sequences")
        return chat


def _say(chat: Translation, message: Message, source: str) -> None:
    if isinstance(message.content, str):
        chat.say({"role": message.role, "content": message.content}, source)
        return
    # One turn of the assistant's has text and calls; results are turns of their own, as chats have them.
    run: list[str] = []
    for index, block in enumerate(message.content):
        where = f"{source}.content[{index}]"
        match block:
            case TextBlock():
                run.append(block.text)
            case ToolResultBlock() if message.role == "user":
                _end_run(chat, run, message.role, source)
                content = "Error: " * bool(block.is_error) + _joined(block.content or "")
                chat.say({"role": "tool", "tool_call_id": block.tool_use_id, "content": content}, where)
            case ToolUseBlock() if message.role == "assistant":
                _end_run(chat, run, message.role, source)
                chat.call(block.id, block.name, json.dumps(block.input, ensure_ascii=False), where)
            case ToolResultBlock() | ToolUseBlock():
                owner = "user" if isinstance(block, ToolResultBlock) else "assistant"
                raise InvalidRequest(
                    f"{where} is a {block.type}, which belongs into a message of the {owner}'s, and "
                    f"{source}.role is {message.role}; move it.",
                    where,
                )
    _end_run(chat, run, message.role, source)


def _end_run(chat: Translation, run: list[str], role: str, source: str) -> None:
    if run:
        chat.say({"role": role, "content": "\n".join(run)}, source)
        run.clear()


def _choose(chat: Translation, choice: ToolChoice) -> None:
    if (choice.type == "tool") != (choice.name is not None):
        wrong = "is missing" if choice.name is None else "is for the type tool alone; leave it out"
        raise InvalidRequest(f"tool_choice.name {wrong}.", "tool_choice.name")
    named: JsonValue = {"type": "function", "function": {"name": choice.name}}
    kinds: dict[str, JsonValue] = {"auto": "auto", "any": "required", "none": "none", "tool": named}
    chat.put("tool_choice", kinds[choice.type], "tool_choice")
    chat.names["tool_choice.function"] = "tool_choice"
    if choice.disable_parallel_tool_use is not None:
        chat.put("parallel_tool_calls", not choice.disable_parallel_tool_use, "tool_choice")


def _joined(content: str | list[TextBlock]) -> str:
    """The text of blocks, joined as the parts of a chat's message are."""
    return content if isinstance(content, str) else "\n".join(block.text for block in content)
