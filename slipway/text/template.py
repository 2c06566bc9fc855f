"""The model's own chat template (Jinja, in a sandbox): conversation to prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import jinja2
from jinja2.meta import find_undeclared_variables

from slipway.contract.errors import EngineRefused, InvalidRequest
from slipway.text.budget import OverLimit, bounded
from slipway.text.sandbox import Sandbox
from slipway.text.tokenizer import Tokenizer

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
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """template: None for a base model, which has none. with_tools: used in its place when there are tools.

    source: the Jinja of both. variables: that it reads, beside those that it sets.
    """

    template: jinja2.Template | None
    with_tools: jinja2.Template | None
    source: str
    variables: frozenset[str]
    special_tokens: Mapping[str, str]

    @classmethod
    def load(cls, directory: Path, tokenizer: Tokenizer) -> Self:
        """Read the templates of a built engine.

        Raises EngineRefused when one is not valid Jinja.
        """
        paths = [directory / name for name in (FILE_NAME, TOOL_USE_FILE_NAME)]
        sources = [path.read_text(encoding="utf-8") if path.is_file() else None for path in paths]
        return cls.of(sources[0], sources[1], tokenizer.special_tokens, directory)

    @classmethod
    def of(
        cls,
        template: str | None,
        with_tools: str | None,
        special_tokens: Mapping[str, str],
        directory: Path = Path(),
    ) -> Self:
        """From the sources. directory: where an error says that they are.

        Raises EngineRefused when one is not valid Jinja.
        """
        sandbox, sources = Sandbox(), {FILE_NAME: template, TOOL_USE_FILE_NAME: with_tools}
        plain, tool_use = (
            None if source is None else _compiled(sandbox, directory / name, source)
            for name, source in sources.items()
        )
        variables = {
            name
            for source in filter(None, sources.values())
            for name in find_undeclared_variables(sandbox.parse(source))
        }
        text = "\n".join(filter(None, sources.values()))
        return cls(plain, tool_use, text, frozenset(variables), special_tokens)

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
        Raises InvalidRequest when the model has no template, or the template refuses the messages or takes
        too much time or memory.
        """
        template = self.with_tools if tools and self.with_tools is not None else self.template
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
            **self.special_tokens,
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
            raise InvalidRequest(
                f"The model's chat template was stopped at these messages: {error.message}. Send less; if "
                "the messages are short, the template is at fault: set chat.template in the recipe.",
                param="messages",
            ) from None
        except _FAILURES as error:
            raise InvalidRequest(
                f"The model's chat template refuses these messages: {str(error)[:_MAX_REASON]}",
                param="messages",
            ) from None
        return _cut(prompt, str(last)) if continue_final_message else prompt


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
