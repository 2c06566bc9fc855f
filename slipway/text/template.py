"""The model's own chat template (Jinja, in a sandbox): conversation to prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypedDict

import jinja2
from jinja2.meta import find_undeclared_variables

from slipway.contract.errors import EngineRefused, InvalidRequest, TemplateStopped
from slipway.text.budget import OverLimit, bounded
from slipway.text.sandbox import Sandbox

FILE_NAME = "chat_template.jinja"
# Some checkpoints have a second template for conversations with tools.
TOOL_USE_FILE_NAME = "chat_template.tool_use.jinja"
_GIVEN = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message")
# Put behind the message to continue; its blank shows whether the template trims messages.
_HERE = "\ue000the model goes on here\ue000 "
_MAX_REASON = 500
# The errors that an expression can raise, Jinja's and Python's.
_FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """The Jinja of a model's chat template.

    plain: None for a base model, which has none. with_tools: used in its place when there are tools.
    directory: where an error says that they are.
    """

    plain: str | None
    with_tools: str | None
    special_tokens: Mapping[str, str]
    directory: str = ""

    @classmethod
    def read(cls, directory: Path, special_tokens: Mapping[str, str]) -> Self:
        """That of a built engine. special_tokens: those of its tokenizer. Raises EngineRefused."""
        paths = [directory / name for name in (FILE_NAME, TOOL_USE_FILE_NAME)]
        plain, with_tools = (_read(path) if path.is_file() else None for path in paths)
        return cls(plain, with_tools, special_tokens, str(directory))

    @property
    def text(self) -> str:
        """Of both."""
        return "\n".join(filter(None, (self.plain, self.with_tools)))


class Template(Protocol):
    """What renders conversations."""

    @property
    def source(self) -> TemplateSource:
        """The Jinja."""
        ...

    @property
    def variables(self) -> frozenset[str]:
        """Those that the template reads, beside those that it sets."""
        ...

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """As `ChatTemplate.render`."""
        ...


class RenderArguments(TypedDict):
    """Those of `Template.render`."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None
    add_generation_prompt: bool
    continue_final_message: bool
    kwargs: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A template that renders in this process, where Python may work for ever on one step of it.

    plain, with_tools: as in `source`, compiled.
    """

    source: TemplateSource
    variables: frozenset[str]
    plain: jinja2.Template | None
    with_tools: jinja2.Template | None

    @classmethod
    def of(cls, source: TemplateSource) -> Self:
        """Compile the Jinja. Raises EngineRefused when it is not valid."""
        sandbox, directory = Sandbox(), Path(source.directory)
        plain, with_tools = (
            None if text is None else _compiled(sandbox, directory / name, text)
            for name, text in ((FILE_NAME, source.plain), (TOOL_USE_FILE_NAME, source.with_tools))
        )
        variables = {
            name
            for text in filter(None, (source.plain, source.with_tools))
            for name in find_undeclared_variables(sandbox.parse(text))
        }
        return cls(source, frozenset(variables), plain, with_tools)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt of a conversation, as by transformers' apply_chat_template; special tokens as text.

        continue_final_message: the prompt ends within the last message, so that the model continues it.
        kwargs: further variables for the template.
        Raises InvalidRequest when the model has no template, or the template refuses the messages;
        TemplateStopped when it takes too much time or memory.
        """
        template = self.with_tools if tools and self.with_tools is not None else self.plain
        if template is None:
            raise InvalidRequest(
                "This model has no chat template (a base model): use /v1/completions, "
                "or give chat.template in its recipe and build it again.",
                param="messages",
            )
        for name in _GIVEN:
            if kwargs and name in kwargs:
                raise InvalidRequest(
                    f"chat_template_kwargs cannot have {name}, which follows from the request; leave it out.",
                    param="chat_template_kwargs",
                )
        turns = [_turn(message) for message in messages]
        last = turns[-1].get("content") if turns else None
        if continue_final_message:
            if not isinstance(last, str):
                raise InvalidRequest(
                    "continue_final_message needs a last message with text to continue.", param="messages"
                )
            turns[-1]["content"] = last + _HERE
        variables = {
            **self.source.special_tokens,
            **(kwargs or {}),
            "messages": turns,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
        }
        try:
            with bounded():
                prompt = template.render(variables)
        except OverLimit as error:
            raise stopped(str(error.message)) from None
        except MemoryError:
            raise stopped("it takes more memory than it may have") from None
        except _FAILURES as error:
            raise InvalidRequest(
                f"The model's chat template refuses these messages: {str(error)[:_MAX_REASON]}",
                param="messages",
            ) from None
        return _cut(prompt, str(last)) if continue_final_message else prompt


def stopped(reason: str) -> TemplateStopped:
    """The error for a template that is stopped, because of `reason`."""
    return TemplateStopped(
        f"The model's chat template ({FILE_NAME}) was stopped at these messages: {reason}. Send less; if the "
        "messages are short, the template is at fault: set chat.template in the recipe.",
        param="messages",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise EngineRefused(f"{path} cannot be read ({error}); build the engine again.") from None


def _compiled(sandbox: Sandbox, path: Path, source: str) -> jinja2.Template:
    try:
        with bounded():
            return sandbox.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise EngineRefused(f"{path}:{error.lineno} is not a valid chat template: {error.message}.") from None
    except (OverLimit, RecursionError, MemoryError, SyntaxError) as error:
        # Python's compiler, which compiles Jinja's code, refuses deep nesting.
        raise EngineRefused(f"{path} cannot be used as a chat template: {error}.") from None


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as templates expect it: with its reasoning under both names in use."""
    names = ("reasoning_content", "thinking", "reasoning")
    reasoning = next((message[name] for name in names if name in message), None)
    return (
        dict(message)
        if reasoning is None
        else {"thinking": reasoning, **message, "reasoning_content": reasoning}
    )


def _cut(prompt: str, last: str) -> str:
    """The prompt up to the end of the last message, as transformers cuts it."""
    at = prompt.rfind(_HERE.strip())
    if at < 0 or last.strip() not in prompt:
        raise InvalidRequest(
            "The model's chat template does not put the last message into the prompt as it is, so it cannot "
            "be continued; leave out continue_final_message.",
            param="continue_final_message",
        )
    return prompt[:at] if prompt.startswith(_HERE, at) else prompt[:at].rstrip()
