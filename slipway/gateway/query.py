"""What a client asks of a model, in words that belong to no API."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import JsonValue
from pydantic_core import from_json

from slipway.contract.generation import Grammar

Role = Literal["system", "developer", "user", "assistant", "tool"]
ToolMode = Literal["none", "auto", "required"]
# OpenAI's words, and those of servers and clients that follow it.
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call in an earlier answer."""

    id: str
    name: str
    arguments: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    content: None beside calls only.
    call_id: the call that a message with the role `tool` answers.
    """

    role: Role
    content: str | None
    calls: tuple[Call, ...] = ()
    call_id: str | None = None
    name: str | None = None
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the answer may call.

    parameters: the JSON schema of its arguments.
    source: the client's field that describes the function.
    """

    name: str
    description: str | None
    parameters: Mapping[str, JsonValue] | None
    strict: bool | None
    source: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """How much a model that thinks before it answers should think. budget: in tokens, at most."""

    effort: Effort | None = None
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages, which the model's chat template turns into a prompt.

    tool_choice: `required` means that the answer must be calls.
    only_tool: the name of the one tool that the answer must call.
    template_variables: further variables of the chat template.
    open_turn: whether the prompt opens the assistant's turn.
    continue_last: whether the answer continues the last message.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolMode = "auto"
    only_tool: str | None = None
    parallel_calls: bool = True
    template_variables: Mapping[str, JsonValue] = field(default_factory=dict)
    thinking: Thinking = field(default_factory=Thinking)
    open_turn: bool = True
    continue_last: bool = False

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools that the answer may call."""
        return () if self.tool_choice == "none" else self.tools

    @property
    def must_call(self) -> bool:
        """Whether the answer must be calls."""
        return self.tool_choice == "required"


@dataclass(frozen=True, slots=True)
class Prompts:
    """Plain prompts, as text or as token ids. Each gets its own answers.

    special_tokens: whether the tokenizer puts its special tokens (BOS) before a text.
    """

    texts: tuple[str | tuple[int, ...], ...]
    special_tokens: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One request. Fields are named as in OpenAI's chat API where it has them.

    max_tokens: None means the model's default, or what the context leaves if that is less.
    truncate_prompt_tokens: how many of the prompt's last tokens are read; None reads all.
    fit_context: max_tokens beyond what the context leaves is lowered to it, and not an error.
    top_k: 0 and -1 keep all tokens. top_p: 0 keeps only the likeliest token.
    logprobs: how many of the likeliest tokens to report with each token; None reports nothing.
    prompt_logprobs: the same for each token of the prompt.
    report_all: each generated token is reported, also one that ends the answer or that a stop string hides.
    stop_token_ids: the answer ends before the first of these tokens.
    include_stop: the answer ends with the stop string, or the token, that ended it.
    bad_words: what the answer must not have, alone or behind a blank.
    grammar: what the answer must match, unless it is calls.
    best_of: how many answers to generate for each prompt; the best `n` are sent.
    timeout: seconds from the request's arrival; None means the server's own limit.
    source: the client's name of a field, where that is not the name here.
    ignored: the client's fields that are accepted and have no effect.
    """

    model: str
    prompt: Conversation | Prompts
    max_tokens: int | None = None
    fit_context: bool = False
    truncate_prompt_tokens: int | None = None
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    bad_words: tuple[str, ...] = ()
    include_stop: bool = False
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    report_all: bool = False
    grammar: Grammar | None = None
    n: int = 1
    best_of: int | None = None
    stream: bool = False
    include_usage: bool = False
    continuous_usage: bool = False
    priority: int = 0
    timeout: float | None = None
    source: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def named(self, name: str) -> str:
        """What the client calls the field `name`."""
        return self.source.get(name, name)

    @property
    def candidates(self) -> int:
        """How many answers are generated for each prompt."""
        return self.best_of or self.n

    @property
    def multiplier(self) -> str:
        """The field that asks for several answers."""
        if isinstance(self.prompt, Prompts) and len(self.prompt.texts) > 1:
            return self.named("prompt")
        return self.named("n" if self.best_of is None else "best_of")


def add_call(messages: list[Message], call: Call) -> None:
    """Add a call to the assistant's last message, or as a message of its own after any other."""
    if messages and messages[-1].role == "assistant":
        messages[-1] = replace(messages[-1], calls=(*messages[-1].calls, call))
    else:
        messages.append(Message("assistant", "", (call,)))


def read_arguments(text: str) -> dict[str, JsonValue]:
    """The arguments of a call in an earlier answer, as chat templates read them.

    Arguments that were cut keep the part that came. Text that is no JSON object gives an empty one: the
    result of the call says what happened.
    """
    try:
        arguments = from_json(text, allow_partial=True)
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}
