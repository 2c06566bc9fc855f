"""The files of a checkpoint's tokenizer and chat template.

They are copied as they are; tokens that tokenizer.json lacks are added to it. transformers would change some
files: when it saves a Qwen2 tokenizer (5.23), it replaces the pre-tokenizer that the model was trained with.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from build.checkpoint import json_file
from slipway.contract.errors import CheckpointError, EngineRefused, InvalidRequest
from slipway.text import template
from slipway.text.added_tokens import with_added_tokens
from slipway.text.file import read_text
from slipway.text.tokenizer import FILES, Tokenizer

DEFINITION, CONFIG = FILES
SPECIAL_TOKENS = "special_tokens_map.json"
# Where newer versions of transformers save named templates.
_TOOL_USE = "additional_chat_templates/tool_use.jinja"
_SLOW = ("tokenizer.model", "spiece.model", "vocab.json")


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """config: tokenizer_config.json without its template, with roles that only special_tokens_map.json has.

    chat_template: Jinja, or None for a base model. tool_template: the template for conversations with tools,
    where the checkpoint has one. sources: names of the files that were read.
    completed: tokenizer.json with the tokens that only `config` has; None where it lacks none.
    """

    directory: Path
    config: dict[str, Any]
    completed: Mapping[str, Any] | None
    tokenizer: Tokenizer
    chat_template: str | None
    tool_template: str | None
    largest_id: int
    largest_token: str
    eos_token_id: int | None
    sources: tuple[str, ...]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read and check the files.

        Raises CheckpointError when a file is missing or damaged, or the kind of decoder is unknown.
        """
        _check_present(directory)
        definition = json_file.read(directory / DEFINITION)
        config = json_file.read(directory / CONFIG)
        for role in ("bos_token", "eos_token"):
            _check_token(config.get(role), role, directory)
        sources = [DEFINITION, CONFIG]
        if (directory / SPECIAL_TOKENS).is_file():
            config = {**json_file.read(directory / SPECIAL_TOKENS), **config}
            sources.append(SPECIAL_TOKENS)
        try:
            completed = with_added_tokens(definition, config)
            tokenizer = Tokenizer.of(completed, config)
        except EngineRefused as error:
            raise CheckpointError(f"{directory}: {error}") from None
        templates = _inline_templates(config.pop("chat_template", None))
        for name, file in (("default", template.FILE_NAME), ("tool_use", _TOOL_USE)):
            if (directory / file).is_file():
                templates[name] = _text(directory / file)
                sources.append(file)
        vocabulary = tokenizer.encoder.get_vocab(with_added_tokens=True)
        largest_token = max(vocabulary, key=lambda token: vocabulary[token])
        return cls(
            directory=directory,
            config=config,
            completed=None if completed is definition else completed,
            tokenizer=tokenizer,
            chat_template=templates.get("default"),
            tool_template=templates.get("tool_use"),
            largest_id=vocabulary[largest_token],
            largest_token=largest_token,
            eos_token_id=tokenizer.eos_token_id,
            sources=tuple(sources),
        )

    def special_tokens(self) -> dict[str, str]:
        """The text of each special token, by role ("bos_token", …)."""
        return self.tokenizer.special_tokens

    def write(self, directory: Path, chat_template: str | None, tool_template: str | None) -> None:
        """Write tokenizer.json, tokenizer_config.json and the given templates into `directory`."""
        if self.completed is None:
            shutil.copyfile(self.directory / DEFINITION, directory / DEFINITION)
        else:
            completed = json.dumps(self.completed, ensure_ascii=False)
            (directory / DEFINITION).write_text(completed, encoding="utf-8")
        (directory / CONFIG).write_text(
            json.dumps(self.config, ensure_ascii=False, indent=2), encoding="utf-8"
        )
        named = {template.FILE_NAME: chat_template, template.TOOL_USE_FILE_NAME: tool_template}
        for name, source in named.items():
            if source is not None:
                (directory / name).write_text(source, encoding="utf-8")


def _check_present(directory: Path) -> None:
    if not (directory / DEFINITION).is_file():
        slow = next((name for name in _SLOW if (directory / name).is_file()), None)
        if slow:
            raise CheckpointError(
                f"{directory} has {slow} but no {DEFINITION}, which serving needs; write it where "
                "transformers is installed: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)."
            )
        raise CheckpointError(
            f"{directory / DEFINITION} is missing; save the tokenizer of the training run beside the "
            "weights: tokenizer.save_pretrained(DIR)."
        )
    if not (directory / CONFIG).is_file():
        raise CheckpointError(
            f"{directory / CONFIG} is missing; save the tokenizer of the training run beside the weights: "
            "tokenizer.save_pretrained(DIR)."
        )


def _check_token(value: Any, role: str, directory: Path) -> None:
    text = value.get("content", value) if isinstance(value, dict) else value
    if not isinstance(text, str | None):
        raise CheckpointError(
            f"{directory / CONFIG} has {role} {value!r}, which is no token; save the tokenizer again."
        )


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except InvalidRequest as error:
        raise CheckpointError(str(error)) from None


def _inline_templates(inline: Any) -> dict[str, str]:
    """Templates by name. tokenizer_config.json has a single one, or a list with a `default` in it."""
    if isinstance(inline, list):
        entries = (
            entry for entry in inline if isinstance(entry, dict) and {"name", "template"} <= entry.keys()
        )
        return {entry["name"]: entry["template"] for entry in entries}
    return {"default": inline} if isinstance(inline, str) else {}
