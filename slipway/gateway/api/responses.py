"""POST /v1/responses: its body, and the chat that it asks for; read by `gateway.app`."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Discriminator, Field, JsonValue, Tag

from slipway.gateway.api.body import (
    FORMATS,
    LEAVE_OUT,
    Body,
    Ignored,
    JsonObjectFormat,
    NonEmpty,
    TextFormat,
    Waiting,
    either,
    of_type,
    only,
)
from slipway.gateway.api.response_items import Items, say
from slipway.gateway.bounds import MAX_TOOLS
from slipway.gateway.translation import Translation, Turn


class JsonSchemaFormat(Body):
    """A JSON document that is valid under the schema."""

    type: Literal["json_schema"]
    name: NonEmpty
    schema_: Annotated[dict[str, JsonValue], Field(alias="schema")]
    description: Ignored = None
    strict: Ignored = None


class TextConfig(Body):
    """What the text of the answer is."""

    format: (
        Annotated[
            Annotated[TextFormat, Tag("(text)")]
            | Annotated[JsonObjectFormat, Tag("(json_object)")]
            | Annotated[JsonSchemaFormat, Tag("(json_schema)")],
            Discriminator(
                of_type(*FORMATS),
                custom_error_type="format_type",
                custom_error_message="must be an object whose type is text, json_object or json_schema",
            ),
        ]
        | None
    ) = None
    verbosity: Annotated[JsonValue, only("medium", advice=LEAVE_OUT)] = None


class FunctionTool(Body):
    """A tool of the client's."""

    type: Annotated[
        JsonValue,
        only("function", advice="tools that run on OpenAI's servers are not offered; use functions"),
    ]
    name: NonEmpty
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    strict: bool | None = None
    defer_loading: Annotated[JsonValue, only(False, advice=LEAVE_OUT)] = None
    allowed_callers: Annotated[JsonValue, only([], ["direct"], advice=LEAVE_OUT)] = None
    output_schema: Annotated[JsonValue, only(advice="not offered; put it in description")] = None
    async_: Annotated[JsonValue, only(False, advice=LEAVE_OUT), Field(alias="async")] = None

    @property
    def shown(self) -> dict[str, JsonValue]:
        """As a response has it."""
        return self.model_dump(include={"type", "name", "description", "parameters", "strict"})


class NamedTool(Body):
    """The one tool to call."""

    type: Annotated[JsonValue, only("function", advice="only functions can be chosen")]
    name: NonEmpty


class Reasoning(Body):
    """Models that think in tags do as they were trained to; the server does not make them."""

    effort: Annotated[JsonValue, only("none", advice=LEAVE_OUT)] = None
    summary: Annotated[JsonValue, only("auto", advice="thoughts come as they are; leave it out")] = None
    generate_summary: Annotated[JsonValue, only("auto", advice=LEAVE_OUT)] = None


class StreamOptions(Body):
    """What a stream carries beside the text."""

    include_obfuscation: Ignored = None


class ResponsesRequest(Waiting):
    """The body of POST /v1/responses."""

    input: Annotated[
        Annotated[NonEmpty, Tag("(string)")] | Annotated[Items, Tag("(list)")],
        Discriminator(
            either(string=str, list=list),
            custom_error_type="input_type",
            custom_error_message="must be a string or a list of items",
        ),
    ]
    instructions: str | None = Field(
        None, description="A system message before the input; not carried on by previous_response_id."
    )
    previous_response_id: NonEmpty | None = Field(
        None, description="Go on from a response that this server still keeps."
    )
    store: bool | None = Field(None, description="Keep the response for a while, in memory; default true.")
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        None, description="0 is greedy; default 1."
    )
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    text: TextConfig | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: (
        Annotated[
            Annotated[Literal["auto", "none", "required"], Tag("(string)")]
            | Annotated[NamedTool, Tag("(object)")],
            Discriminator(
                either(string=str, object=dict),
                custom_error_type="tool_choice_type",
                custom_error_message="must be auto, none, required or an object that names a function",
            ),
        ]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    metadata: dict[str, str] | None = Field(None, description="Given back with the response.")
    user: str | None = Field(None, description="Given back with the response.")

    truncation: Annotated[
        JsonValue,
        only("disabled", advice="a conversation that does not fit is refused, never cut; leave it out"),
    ] = None
    background: Annotated[JsonValue, only(False, advice="not offered; stream the response instead")] = None
    include: Annotated[JsonValue, only([], advice=LEAVE_OUT)] = None
    top_logprobs: Annotated[JsonValue, only(0, advice="ask /v1/chat/completions for log-probabilities")] = (
        None
    )
    conversation: Annotated[JsonValue, only(advice="not offered; use previous_response_id")] = None
    prompt: Annotated[JsonValue, only(advice="not offered; write it into input")] = None
    max_tool_calls: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None
    context_management: Annotated[JsonValue, only([], advice=LEAVE_OUT)] = None
    moderation: Annotated[JsonValue, only(advice=LEAVE_OUT)] = None

    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None

    def said(self) -> Translation:
        """The turns that this request adds to the conversation."""
        chat = Translation()
        if isinstance(self.input, str):
            chat.say({"role": "user", "content": self.input}, "input")
            return chat
        for index, item in enumerate(self.input):
            say(chat, item, f"input[{index}]")
        return chat

    def translation(self, earlier: Sequence[Turn], said: Translation) -> Translation:
        """The chat that it asks for. earlier: the turns up to the response that it goes on from."""
        chat = Translation(names={"messages": "input"})
        if self.instructions:
            chat.say({"role": "system", "content": self.instructions}, "instructions")
        for turn in earlier:
            chat.say(turn, "previous_response_id")
        for index, turn in enumerate(said.turns):
            chat.say(turn, said.names[f"messages[{index}]"])
        for name in ("model", "temperature", "top_p", "stream", "parallel_tool_calls", "priority"):
            chat.put(name, getattr(self, name), name)
        chat.put("max_completion_tokens", self.max_output_tokens, "max_output_tokens")
        for index, tool in enumerate(self.tools or ()):
            function = tool.model_dump(
                include={"name", "description", "parameters", "strict"}, exclude_none=True
            )
            chat.tool(function, f"tools[{index}]", "parameters")
        choice: JsonValue | NamedTool = self.tool_choice
        if isinstance(choice, NamedTool):
            choice = {"type": "function", "function": {"name": choice.name}}
            chat.names["tool_choice.function"] = "tool_choice"
        chat.put("tool_choice", choice, "tool_choice")
        if self.text is not None and self.text.format is not None:
            chat.put("response_format", _response_format(self.text.format), "text.format")
        return chat


def _response_format(asked: TextFormat | JsonObjectFormat | JsonSchemaFormat) -> JsonValue:
    if isinstance(asked, JsonSchemaFormat):
        return {"type": asked.type, "json_schema": {"name": asked.name, "schema": asked.schema_}}
    return {"type": asked.type}
