"""What POST and GET /v1/responses answer: the response object and its items."""

import time
import uuid
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, JsonValue

from slipway.gateway.answers.blocks import Block
from slipway.gateway.responses.schema import NamedTool, Reasoning, ResponsesRequest, TextConfig
from slipway.gateway.responses.tools import CalledFunction, shown_tools
from slipway.gateway.shapes.body import TextFormat
from slipway.gateway.shapes.reply import Head
from slipway.gateway.shapes.usage import Usage

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputText(BaseModel):
    """A piece of a message."""

    type: Literal["output_text"]
    text: str
    annotations: list[JsonValue]
    logprobs: list[JsonValue]

    @classmethod
    def of(cls, text: str) -> Self:
        """With nothing beside the text."""
        return cls(type="output_text", text=text, annotations=[], logprobs=[])


class ReasoningText(BaseModel):
    """A piece of what the model thinks."""

    type: Literal["reasoning_text"]
    text: str


class OutputMessage(BaseModel):
    """Something the model says."""

    id: str
    type: Literal["message"]
    status: ItemStatus
    role: Literal["assistant"]
    content: list[OutputText]


class OutputReasoning(BaseModel):
    """What the model thinks, without a summary."""

    id: str
    type: Literal["reasoning"]
    status: ItemStatus
    summary: list[JsonValue]
    content: list[ReasoningText]


class OutputCall(BaseModel):
    """A function call; the client sends the result back under call_id."""

    id: str
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str
    name: str
    namespace: str | None = None
    arguments: str


OutputItem = OutputMessage | OutputReasoning | OutputCall


class InputTokensDetails(BaseModel):
    """cached_tokens: tokens of the prompt that were read before; 0 where the backend does not say."""

    cached_tokens: int
    cache_write_tokens: Literal[0]


class OutputTokensDetails(BaseModel):
    """reasoning_tokens: tokens of the output that were reasoning."""

    reasoning_tokens: int


class ResponseUsage(BaseModel):
    """Tokens of one response."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage, reasoning_tokens: int) -> Self:
        """The same in this API's shape."""
        details = usage.prompt_tokens_details
        cached = 0 if details is None else details.cached_tokens
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(cached_tokens=cached, cache_write_tokens=0),
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=reasoning_tokens),
            total_tokens=usage.total_tokens,
        )


class ResponseError(BaseModel):
    """Why a response failed."""

    code: Literal["server_error", "invalid_prompt"]
    message: str


class IncompleteDetails(BaseModel):
    """Why a response was cut."""

    reason: Literal["max_output_tokens"]


class ResponseObject(BaseModel):
    """A response: what was asked, and what came of it."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    model: str
    output: list[OutputItem]
    usage: ResponseUsage | None
    instructions: str | None
    previous_response_id: str | None
    max_output_tokens: int | None
    temperature: float
    top_p: float
    text: JsonValue
    tools: list[JsonValue]
    tool_choice: JsonValue
    parallel_tool_calls: bool
    reasoning: JsonValue
    store: bool
    metadata: dict[str, str]
    user: str | None
    background: Literal[False]
    truncation: Literal["disabled"]
    service_tier: Literal["default"]
    top_logprobs: Literal[0]

    @classmethod
    def started(cls, head: Head, body: ResponsesRequest) -> Self:
        """The response to `body` before the answer begins."""
        text = body.text or TextConfig()
        choice = body.tool_choice
        return cls(
            id=head.id,
            object="response",
            created_at=head.created,
            completed_at=None,
            status="in_progress",
            error=None,
            incomplete_details=None,
            model=head.model,
            output=[],
            usage=None,
            instructions=body.instructions,
            previous_response_id=body.previous_response_id,
            max_output_tokens=body.max_output_tokens,
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
            text={"format": _shown(text.format or TextFormat(type="text")), "verbosity": "medium"},
            tools=shown_tools(body.tools or ()),
            tool_choice=_shown(choice) if isinstance(choice, NamedTool) else choice or "auto",
            parallel_tool_calls=body.parallel_tool_calls is not False,
            reasoning={"effort": None, "summary": None, **_shown(body.reasoning or Reasoning())},
            store=body.store is not False,
            metadata=body.metadata or {},
            user=body.user,
            background=False,
            truncation="disabled",
            service_tier="default",
            top_logprobs=0,
        )

    def ended(self, output: list[OutputItem], usage: ResponseUsage, cut: bool) -> Self:
        """The response at the end. cut: by max_output_tokens or the end of the context."""
        changes = {
            "status": "incomplete" if cut else "completed",
            "incomplete_details": IncompleteDetails(reason="max_output_tokens") if cut else None,
            "completed_at": None if cut else int(time.time()),
            "output": output,
            "usage": usage,
        }
        return self.model_copy(update=changes)


class InputTokens(BaseModel):
    """The response of POST /v1/responses/input_tokens."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class ResponseDeleted(BaseModel):
    """The response of DELETE /v1/responses/{id}."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


def _shown(asked: BaseModel) -> dict[str, JsonValue]:
    """A part of the body as the client wrote it."""
    return asked.model_dump(by_alias=True, exclude_unset=True)


def item_id(block: Block) -> str:
    """A new id for the item of `block`."""
    prefix = {"text": "msg", "reasoning": "rs", "call": "fc"}[block.kind]
    return f"{prefix}_{uuid.uuid4().hex}"


def item(block: Block, name: str, status: ItemStatus, functions: Mapping[str, CalledFunction]) -> OutputItem:
    """The item of `block`, with the id `name`; without content while it is in progress.

    functions: the client's, by the names that the model writes.
    """
    empty = status == "in_progress"
    match block.kind:
        case "text":
            said = [] if empty else [OutputText.of(block.text)]
            return OutputMessage(id=name, type="message", status=status, role="assistant", content=said)
        case "reasoning":
            thoughts = [] if empty else [ReasoningText(type="reasoning_text", text=block.text)]
            return OutputReasoning(id=name, type="reasoning", status=status, summary=[], content=thoughts)
        case "call":
            called = functions.get(block.name, CalledFunction(block.name))
            call = OutputCall(
                id=name,
                type="function_call",
                status=status,
                # Made from the item's id, so that it is the same in every event.
                call_id=f"call_{name.removeprefix('fc_')}",
                name=called.name,
                arguments="" if empty else block.text,
            )
            return call.model_copy(update={"namespace": called.namespace}) if called.namespace else call
