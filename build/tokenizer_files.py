"""A checkpoint's tokenizer and chat template as files: checked by `checkpoint`, copied by `engine`.

They are copied, not saved anew by transformers: for some classes (Qwen2, in 5.23) that replaces the
pre-tokenizer the model was trained with by the class's own.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from build import json_file
from engines.errors import CheckpointError, EngineRefused
from text import template
from text.tokenizer import FILES, Tokenizer

DEFINITION, CONFIG = FILES
SPECIAL_TOKENS = "special_tokens_map.json"
_SLOW = ("tokenizer.model", "spiece.model", "vocab.json")


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """config: tokenizer_config.json with the roles that only special_tokens_map.json has, without template.

    chat_template: Jinja, or None for a base model. sources: the files all this was read from.
    """

    directory: Path
    config: dict[str, Any]
    chat_template: str | None
    largest_id: int
    largest_token: str
    eos_token_id: int | None
    sources: tuple[str, ...]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Raises CheckpointError when a file is missing or damaged, or the decoder is of an unknown kind."""
        _check_present(directory)
        if "model" not in json_file.read(directory / DEFINITION):
            raise CheckpointError(
                f"{directory / DEFINITION} describes no tokenizer (it has no model); copy or save it again."
            )
        config = json_file.read(directory / CONFIG)
        try:
            tokenizer = Tokenizer.load(directory)
        except EngineRefused as error:
            raise CheckpointError(f"{directory}: {error}") from None
        sources = [DEFINITION, CONFIG]
        if (directory / SPECIAL_TOKENS).is_file():
            config = {**json_file.read(directory / SPECIAL_TOKENS), **config}
            sources.append(SPECIAL_TOKENS)
        inline = config.pop("chat_template", None)
        if (directory / template.FILE_NAME).is_file():
            chat_template: str | None = (directory / template.FILE_NAME).read_text(encoding="utf-8")
            sources.append(template.FILE_NAME)
        else:
            chat_template = _default_template(inline)
        vocabulary = tokenizer.encoder.get_vocab(with_added_tokens=True)
        largest_token = max(vocabulary, key=lambda token: vocabulary[token])
        eos = config.get("eos_token")
        return cls(
            directory=directory,
            config=config,
            chat_template=chat_template,
            largest_id=vocabulary[largest_token],
            largest_token=largest_token,
            eos_token_id=vocabulary.get(eos["content"] if isinstance(eos, dict) else eos or ""),
            sources=tuple(sources),
        )

    def special_tokens(self) -> dict[str, str]:
        """Text of each special token, by role ("bos_token", …)."""
        return {
            role: value if isinstance(value, str) else value["content"]
            for role, value in self.config.items()
            if role.endswith("_token") and isinstance(value, str | dict)
        }

    def write(self, directory: Path, chat_template: str | None) -> None:
        """Put tokenizer.json, tokenizer_config.json and, if there is one, chat_template.jinja there."""
        shutil.copyfile(self.directory / DEFINITION, directory / DEFINITION)
        (directory / CONFIG).write_text(
            json.dumps(self.config, ensure_ascii=False, indent=2), encoding="utf-8"
        )
        if chat_template is not None:
            (directory / template.FILE_NAME).write_text(chat_template, encoding="utf-8")


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


def _default_template(inline: Any) -> str | None:
    """tokenizer_config.json has one template, or a list of named ones with a `default` among them."""
    if isinstance(inline, list):
        return next((entry["template"] for entry in inline if entry.get("name") == "default"), None)
    return inline if isinstance(inline, str) else None
