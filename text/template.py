"""The model's own chat template (Jinja, in a sandbox): conversation to prompt; called by `gateway`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, Self

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engines.errors import EngineRefused, InvalidRequest
from text.tokenizer import Tokenizer

FILE_NAME = "chat_template.jinja"


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """template: None for a base model, which has none."""

    template: jinja2.Template | None
    special_tokens: Mapping[str, str]

    @classmethod
    def load(cls, directory: Path, tokenizer: Tokenizer) -> Self:
        """Read chat_template.jinja from a built engine.

        Raises EngineRefused when it is not valid Jinja.
        """
        path = directory / FILE_NAME
        if not path.is_file():
            return cls(None, tokenizer.special_tokens)
        try:
            template = _environment().from_string(path.read_text(encoding="utf-8"))
        except jinja2.TemplateSyntaxError as error:
            raise EngineRefused(
                f"{path}:{error.lineno} is not a valid chat template: {error.message}."
            ) from None
        return cls(template, tokenizer.special_tokens)

    def render(self, messages: Sequence[Mapping[str, object]], add_generation_prompt: bool = True) -> str:
        """The prompt of a conversation, special tokens spelled out.

        Raises InvalidRequest when the model has no template or the template refuses the messages.
        """
        if self.template is None:
            raise InvalidRequest(
                "This model has no chat template (a base model): use /v1/completions, "
                "or give chat.template in its recipe and build it again.",
                param="messages",
            )
        try:
            return self.template.render(
                messages=messages, add_generation_prompt=add_generation_prompt, **self.special_tokens
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise InvalidRequest(
                f"The model's chat template refuses these messages: {error}", param="messages"
            ) from None


def _environment() -> ImmutableSandboxedEnvironment:
    """The names that templates on model hubs rely on (transformers, utils/chat_template_utils.py)."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], autoescape=False
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
    # Jinja's own filter escapes HTML, which a prompt must not be.
    return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
