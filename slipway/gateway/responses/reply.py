"""The answers of POST /v1/responses: a response object, or its events."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, JsonValue

from slipway.contract.errors import InvalidRequest, SlipwayError
from slipway.gateway.answers.answer import Answer, Piece, reasoning_tokens
from slipway.gateway.answers.blocks import Block, grow
from slipway.gateway.query import Call, Message, add_call, read_arguments
from slipway.gateway.responses.object import (
    ItemStatus,
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    ReasoningText,
    ResponseError,
    ResponseObject,
    ResponseUsage,
    item,
    item_id,
)
from slipway.gateway.responses.tools import CalledFunction
from slipway.gateway.shapes.error import error_body
from slipway.gateway.shapes.reply import COMMENT, named_event
from slipway.gateway.shapes.usage import Usage

# Takes a response that ended, with the messages of its answer.
Keep = Callable[[ResponseObject, tuple[Message, ...]], None]


class ResponseEvent(BaseModel):
    """One event; each type sets the fields that it has in OpenAI's API."""

    type: str
    sequence_number: int
    response: ResponseObject | None = None
    output_index: int | None = None
    item: OutputItem | None = None
    item_id: str | None = None
    content_index: int | None = None
    part: OutputText | ReasoningText | None = None
    delta: str | None = None
    text: str | None = None
    name: str | None = None
    arguments: str | None = None
    logprobs: list[JsonValue] | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None


@dataclass(slots=True)
class ResponsesReply:
    """The shapes of /v1/responses, which has one answer.

    started: the response before the answer begins.
    functions: the client's, by the names that the model writes.
    """

    started: ResponseObject
    keep: Keep
    functions: Mapping[str, CalledFunction] = field(default_factory=dict)
    _blocks: list[Block] = field(default_factory=list)
    _output: list[OutputItem] = field(default_factory=list)
    _item_id: str = ""
    _reasoning_tokens: int = 0
    _cut: bool = False
    _events: int = 0

    def body(self, answers: Sequence[Answer], usage: Usage) -> ResponseObject:
        """The response at its end."""
        [answer] = answers
        self._cut = answer.finish_reason == "length"
        self._reasoning_tokens = answer.reasoning_tokens
        self._blocks = answer.blocks
        last = len(self._blocks) - 1
        self._output = [
            item(block, item_id(block), self._status(index == last), self.functions)
            for index, block in enumerate(self._blocks)
        ]
        return self._end(usage)

    def opening(self, count: int) -> bytes:
        """The two events of a response that begins."""
        return self._event("response.created", response=self.started) + self._event(
            "response.in_progress", response=self.started
        )

    def piece(self, piece: Piece) -> bytes:
        """The events of the items that the piece begins, adds to and ends."""
        self._reasoning_tokens += reasoning_tokens(piece)
        events = []
        for part in piece.parts:
            open_before = self._blocks[-1] if self._blocks else None
            begins, text = grow(self._blocks, part)
            block = self._blocks[-1]
            if begins:
                if open_before is not None:
                    events.append(self._done(open_before, "completed"))
                events.append(self._added(block))
            if text:
                events.append(self._delta(block, text))
        if piece.finish_reason is not None:
            self._cut = piece.finish_reason == "length"
            if self._blocks:
                events.append(self._done(self._blocks[-1], self._status(last=True)))
        return b"".join(events)

    def closing(self, usage: Usage) -> bytes:
        """The event with the response at its end."""
        ended = self._end(usage)
        return self._event(f"response.{ended.status}", response=ended)

    def failure(self, error: SlipwayError) -> bytes:
        """The error, and the response that failed by it."""
        detail = error_body(error).error
        why = ResponseError(
            code="invalid_prompt" if isinstance(error, InvalidRequest) else "server_error",
            message=detail.message,
        )
        failed = self.started.model_copy(update={"status": "failed", "error": why, "output": self._output})
        return self._event(
            "error", code=detail.code, message=detail.message, param=detail.param
        ) + self._event("response.failed", response=failed)

    def keep_alive(self) -> bytes:
        """A comment."""
        return COMMENT

    def _end(self, usage: Usage) -> ResponseObject:
        shown = ResponseUsage.of(usage, self._reasoning_tokens)
        ended = self.started.ended(self._output, shown, self._cut)
        if ended.store:
            self.keep(ended, _messages(self._blocks, self._output))
        return ended

    def _status(self, last: bool) -> ItemStatus:
        return "incomplete" if last and self._cut else "completed"

    def _added(self, block: Block) -> bytes:
        self._item_id = item_id(block)
        opened = item(block, self._item_id, "in_progress", self.functions)
        added = self._event("response.output_item.added", output_index=self._index, item=opened)
        if block.kind == "call":
            return added
        part = OutputText.of("") if block.kind == "text" else ReasoningText(type="reasoning_text", text="")
        return added + self._content("response.content_part.added", part=part)

    def _delta(self, block: Block, text: str) -> bytes:
        match block.kind:
            case "text":
                return self._content("response.output_text.delta", delta=text, logprobs=[])
            case "reasoning":
                return self._content("response.reasoning_text.delta", delta=text)
            case "call":
                return self._in_item("response.function_call_arguments.delta", delta=text)

    def _done(self, block: Block, status: ItemStatus) -> bytes:
        text, done = block.text, item(block, self._item_id, status, self.functions)
        match done:
            case OutputMessage():
                events = self._content("response.output_text.done", text=text, logprobs=[]) + self._content(
                    "response.content_part.done", part=OutputText.of(text)
                )
            case OutputReasoning():
                events = self._content("response.reasoning_text.done", text=text) + self._content(
                    "response.content_part.done", part=ReasoningText(type="reasoning_text", text=text)
                )
            case OutputCall():
                events = self._in_item(
                    "response.function_call_arguments.done", name=done.name, arguments=text
                )
        events += self._event("response.output_item.done", output_index=self._index, item=done)
        self._output.append(done)
        return events

    @property
    def _index(self) -> int:
        """Of the item that is open: those before it are done."""
        return len(self._output)

    def _content(self, kind: str, **fields: object) -> bytes:
        return self._in_item(kind, content_index=0, **fields)

    def _in_item(self, kind: str, **fields: object) -> bytes:
        return self._event(kind, item_id=self._item_id, output_index=self._index, **fields)

    def _event(self, kind: str, **fields: object) -> bytes:
        number, self._events = self._events, self._events + 1
        return named_event(
            kind, ResponseEvent.model_validate({"type": kind, "sequence_number": number, **fields})
        )


def _messages(blocks: Sequence[Block], output: Sequence[OutputItem]) -> tuple[Message, ...]:
    """The answer as messages, without reasoning."""
    messages: list[Message] = []
    for block, shown in zip(blocks, output, strict=True):
        if shown.type == "message":
            messages.append(Message("assistant", block.text))
        elif shown.type == "function_call":
            add_call(messages, Call(shown.call_id, block.name, read_arguments(block.text)))
    return tuple(messages)
