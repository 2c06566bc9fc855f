"""The answers of POST /v1/chat/completions: one body, or a stream of chunks."""

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from slipway.gateway.answers.answer import Answer
from slipway.gateway.answers.interpretation import Finish
from slipway.gateway.answers.log_probs import ChosenToken
from slipway.gateway.answers.prompt_tokens import PromptTokens
from slipway.gateway.shapes.chunks import Chunks
from slipway.gateway.shapes.log_probs import NO_SCORES, ChatLogProbs, PromptLogProbList, prompt_log_probs
from slipway.gateway.shapes.usage import Usage
from slipway.text.parts import AnswerReasoning, AnswerText, CallArguments, CallStart, Part

# OpenAI's name for ordinary service, the only tier here.
Tier = Literal["default"]
# Of a call's id. Mistral's templates take no other length, and it is enough for one conversation.
_ID_LENGTH, _ID_LETTERS = 9, string.ascii_letters + string.digits


class FunctionCall(BaseModel):
    """arguments: a JSON object, as text."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A tool call. The client makes it, and sends the result back under this id."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class AssistantMessage(BaseModel):
    """The answer of a chat. content: None where it has only calls.

    reasoning_content: what a model that thinks in tags thought, named as in DeepSeek's API.
    reasoning: the same, named as in vLLM's and OpenRouter's.
    """

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    """One answer of a chat."""

    index: int
    message: AssistantMessage
    logprobs: ChatLogProbs | None
    finish_reason: Finish


class ChatCompletion(BaseModel):
    """The response of POST /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    service_tier: Tier | None = None
    prompt_logprobs: PromptLogProbList | None = None


class FunctionDelta(BaseModel):
    """name: only in the first chunk of a call."""

    name: str | None = None
    arguments: str = ""


class ToolCallDelta(BaseModel):
    """What one chunk adds to the call `index`; id and type are only in its first chunk."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class ChatDelta(BaseModel):
    """What one chunk adds to the message."""

    role: Literal["assistant"] = "assistant"
    content: str = ""
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChunkChoice(BaseModel):
    """What one chunk adds to the answer."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogProbs | None
    finish_reason: Finish | None


class ChatCompletionChunk(BaseModel):
    """One event of a streamed chat; `usage` is there only when the client asked for it."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    service_tier: Tier | None = None


@dataclass(slots=True)
class ChatReply(Chunks):
    """The shapes of /v1/chat/completions.

    tier: the service tier in body and chunks, where the client asked for one.
    tokens: of the prompt, where their log-probabilities are reported, with prompt_logprobs of the likeliest.
    """

    tier: Tier | None = None
    tokens: PromptTokens | None = None
    prompt_logprobs: int = 0

    def body(self, answers: Sequence[Answer], usage: Usage) -> ChatCompletion:
        """The body of answers that are not streamed."""
        choices = [
            ChatChoice(
                index=index,
                message=_message(answer),
                logprobs=ChatLogProbs.of(answer.chosen),
                finish_reason=answer.finish_reason,
            )
            for index, answer in enumerate(answers)
        ]
        optional: dict[str, Any] = {}
        if self.tokens is not None:
            scores = answers[0].prompt or NO_SCORES
            optional["prompt_logprobs"] = prompt_log_probs(self.tokens, scores, self.prompt_logprobs)
        return ChatCompletion(
            object="chat.completion",
            choices=choices,
            usage=usage.with_reasoning(sum(answer.reasoning_tokens for answer in answers)),
            **self._head(),
            **optional,
        )

    def opening(self, count: int) -> bytes:
        """The role of each answer, so that a client can show at once that it is coming."""
        delta = ChatDelta(role="assistant", content="")
        return b"".join(
            self.chunk([_choice(index, delta, None, ())], self.so_far(index)) for index in range(count)
        )

    def choice(
        self, index: int, part: Part | None, finish: Finish | None = None, chosen: Sequence[ChosenToken] = ()
    ) -> ChatChunkChoice:
        """What one chunk adds to the answer `index`."""
        return _choice(index, ChatDelta() if part is None else _delta(part), finish, chosen)

    def shape(self, choices: list[ChatChunkChoice]) -> ChatCompletionChunk:
        """A chunk with these choices."""
        return ChatCompletionChunk(object="chat.completion.chunk", choices=choices, **self._head())

    def _head(self) -> dict[str, Any]:
        head = {"id": self.head.id, "created": self.head.created, "model": self.head.model}
        return {**head, "service_tier": self.tier} if self.tier else head


def _choice(
    index: int, delta: ChatDelta, finish: Finish | None, chosen: Sequence[ChosenToken]
) -> ChatChunkChoice:
    logprobs = ChatLogProbs.of(chosen)
    return ChatChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=finish)


def _message(answer: Answer) -> AssistantMessage:
    optional: dict[str, Any] = {}
    if answer.reasoning:
        optional |= {"reasoning_content": answer.reasoning, "reasoning": answer.reasoning}
    if answer.calls:
        optional["tool_calls"] = [
            ToolCall(
                id=_call_id(), type="function", function=FunctionCall(name=call.name, arguments=call.text)
            )
            for call in answer.calls
        ]
    content = answer.text or (None if answer.calls else "")
    return AssistantMessage(role="assistant", content=content, refusal=None, **optional)


def _delta(part: Part) -> ChatDelta:
    match part:
        case AnswerText(text):
            return ChatDelta(content=text)
        case AnswerReasoning(text):
            return ChatDelta(reasoning_content=text, reasoning=text)
        case CallStart(index, name):
            call = ToolCallDelta(
                index=index,
                id=_call_id(),
                type="function",
                function=FunctionDelta(name=name, arguments=""),
            )
        case CallArguments(index, text):
            call = ToolCallDelta(index=index, function=FunctionDelta(arguments=text))
    return ChatDelta(tool_calls=[call])


def _call_id() -> str:
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
