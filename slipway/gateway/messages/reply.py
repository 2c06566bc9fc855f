"""The answers of POST /v1/messages: a message, or its events."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from pydantic import BaseModel, JsonValue

from slipway.contract.errors import SlipwayError
from slipway.gateway.answers.answer import Answer, Piece, reasoning_tokens
from slipway.gateway.answers.blocks import Block, grow
from slipway.gateway.answers.interpretation import Finish
from slipway.gateway.query import read_arguments
from slipway.gateway.shapes.message_error import message_error
from slipway.gateway.shapes.reply import Head, named_event
from slipway.gateway.shapes.usage import Usage

StopReason = Literal["end_turn", "max_tokens", "model_context_window_exceeded", "stop_sequence", "tool_use"]


class TextContent(BaseModel):
    """Something the model says."""

    type: Literal["text"]
    text: str


class ThinkingContent(BaseModel):
    """What the model thinks. signature: always empty; Slipway does not sign thoughts."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseContent(BaseModel):
    """A tool call."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, JsonValue]


MessageContent = TextContent | ThinkingContent | ToolUseContent


class MessageTokensDetails(BaseModel):
    """thinking_tokens: tokens of the output that were reasoning."""

    thinking_tokens: int


class MessageUsage(BaseModel):
    """input_tokens: of the prompt, without those read before, which are cache_read_input_tokens."""

    input_tokens: int
    cache_read_input_tokens: int | None = None
    output_tokens: int
    output_tokens_details: MessageTokensDetails | None = None


class MessageResponse(BaseModel):
    """The response of POST /v1/messages."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[MessageContent]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage


class TokensCount(BaseModel):
    """The response of POST /v1/messages/count_tokens."""

    input_tokens: int


class MessageStart(BaseModel):
    """The message before there is anything in it."""

    type: Literal["message_start"]
    message: MessageResponse


class BlockStart(BaseModel):
    """A block begins."""

    type: Literal["content_block_start"]
    index: int
    content_block: MessageContent


class TextDelta(BaseModel):
    """More text."""

    type: Literal["text_delta"]
    text: str


class ThinkingDelta(BaseModel):
    """More thoughts."""

    type: Literal["thinking_delta"]
    thinking: str


class InputDelta(BaseModel):
    """More of the JSON object that a call passes."""

    type: Literal["input_json_delta"]
    partial_json: str


class BlockDelta(BaseModel):
    """What is added to the block that is open."""

    type: Literal["content_block_delta"]
    index: int
    delta: TextDelta | ThinkingDelta | InputDelta


class BlockStop(BaseModel):
    """The block ends."""

    type: Literal["content_block_stop"]
    index: int


class Stop(BaseModel):
    """Why the message ended."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(BaseModel):
    """What only the end of the message shows. usage: of the whole message."""

    type: Literal["message_delta"]
    delta: Stop
    usage: MessageUsage


class Sign(BaseModel):
    """An event without content."""

    type: Literal["message_stop", "ping"]


_Event = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | Sign
EVENTS: tuple[type[BaseModel], ...] = get_args(_Event)


@dataclass(slots=True)
class MessagesReply:
    """The shapes of /v1/messages, which has one answer.

    stop_sequences: the client's. An answer that a stop string of the recipe ends has the reason `end_turn`.
    fills_context: the context ends before max_tokens tokens.
    """

    head: Head
    prompt_tokens: int
    stop_sequences: Sequence[str] = ()
    fills_context: bool = False
    _blocks: list[Block] = field(default_factory=list)
    _thinking_tokens: int = 0
    _stop: Stop | None = None

    def body(self, answers: Sequence[Answer], usage: Usage) -> MessageResponse:
        """The message."""
        [answer] = answers
        content = [_content(block) for block in answer.blocks]
        stop = self._stopped(answer.finish_reason, answer.stop)
        return self._message(content, _usage(usage, answer.reasoning_tokens), stop)

    def opening(self, count: int) -> bytes:
        """The event with the message before its content."""
        usage = MessageUsage(input_tokens=self.prompt_tokens, output_tokens=0)
        return _event(MessageStart(type="message_start", message=self._message([], usage, None)))

    def piece(self, piece: Piece) -> bytes:
        """The events of the blocks that the piece begins, adds to and ends."""
        self._thinking_tokens += reasoning_tokens(piece)
        events: list[_Event] = []
        for part in piece.parts:
            begins, text = grow(self._blocks, part)
            block, at = self._blocks[-1], len(self._blocks) - 1
            if begins:
                if at > 0:
                    events.append(BlockStop(type="content_block_stop", index=at - 1))
                empty = _content(Block(block.kind, name=block.name))
                events.append(BlockStart(type="content_block_start", index=at, content_block=empty))
            if text:
                events.append(BlockDelta(type="content_block_delta", index=at, delta=_delta(block, text)))
        if piece.finish_reason is not None:
            self._stop = self._stopped(piece.finish_reason, piece.stop)
            if self._blocks:
                events.append(BlockStop(type="content_block_stop", index=len(self._blocks) - 1))
        return b"".join(map(_event, events))

    def closing(self, usage: Usage) -> bytes:
        """The events with the reason of the end and the usage."""
        assert self._stop is not None, "the last piece has the reason"
        shown = _usage(usage, self._thinking_tokens)
        return _event(MessageDelta(type="message_delta", delta=self._stop, usage=shown)) + _event(
            Sign(type="message_stop")
        )

    def failure(self, error: SlipwayError) -> bytes:
        """The error."""
        return named_event("error", message_error(error))

    def keep_alive(self) -> bytes:
        """A ping."""
        return _event(Sign(type="ping"))

    def _message(
        self, content: list[MessageContent], usage: MessageUsage, stop: Stop | None
    ) -> MessageResponse:
        return MessageResponse(
            id=self.head.id,
            type="message",
            role="assistant",
            model=self.head.model,
            content=content,
            stop_reason=None if stop is None else stop.stop_reason,
            stop_sequence=None if stop is None else stop.stop_sequence,
            usage=usage,
        )

    def _stopped(self, finish: Finish, stop: str | None) -> Stop:
        if stop in self.stop_sequences:
            return Stop(stop_reason="stop_sequence", stop_sequence=stop)
        reasons: dict[Finish, StopReason] = {
            "stop": "end_turn",
            "length": "model_context_window_exceeded" if self.fills_context else "max_tokens",
            "tool_calls": "tool_use",
        }
        return Stop(stop_reason=reasons[finish], stop_sequence=None)


def _content(block: Block) -> MessageContent:
    match block.kind:
        case "text":
            return TextContent(type="text", text=block.text)
        case "reasoning":
            return ThinkingContent(type="thinking", thinking=block.text, signature="")
        case "call":
            call_id = f"toolu_{uuid.uuid4().hex}"
            return ToolUseContent(
                type="tool_use", id=call_id, name=block.name, input=read_arguments(block.text)
            )


def _delta(block: Block, text: str) -> TextDelta | ThinkingDelta | InputDelta:
    match block.kind:
        case "text":
            return TextDelta(type="text_delta", text=text)
        case "reasoning":
            return ThinkingDelta(type="thinking_delta", thinking=text)
        case "call":
            return InputDelta(type="input_json_delta", partial_json=text)


def _usage(usage: Usage, thinking_tokens: int) -> MessageUsage:
    details = usage.prompt_tokens_details
    cached = None if details is None else details.cached_tokens
    shown = MessageUsage(
        input_tokens=usage.prompt_tokens - (cached or 0), output_tokens=usage.completion_tokens
    )
    if cached is not None:
        shown = shown.model_copy(update={"cache_read_input_tokens": cached})
    if thinking_tokens:
        thinking = MessageTokensDetails(thinking_tokens=thinking_tokens)
        shown = shown.model_copy(update={"output_tokens_details": thinking})
    return shown


def _event(data: _Event) -> bytes:
    return named_event(data.type, data)
