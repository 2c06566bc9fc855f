"""The tokens that end a sequence, and what names each of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build.checkpoint import architecture, json_file
from build.checkpoint.tokenizer_files import CONFIG, TokenizerFiles
from build.checkpoint.turn_end import turn_end
from slipway.contract.errors import CheckpointError
from slipway.text.stop_tokens import stop_token

GENERATION = "generation_config.json"
TEMPLATE = "chat template"
CHAT_STOP = "chat.stop"


@dataclass(frozen=True, slots=True)
class End:
    """sources: names of the files that name the token, and TEMPLATE or CHAT_STOP."""

    token_id: int
    text: str
    sources: tuple[str, ...]

    @property
    def only_shown(self) -> bool:
        """Whether the chat template alone shows that it ends a turn."""
        return self.sources == (TEMPLATE,)

    def __str__(self) -> str:
        return f"{self.text} ({self.token_id}; {', '.join(self.sources)})"


def find_ends(
    directory: Path,
    vocab_size: int,
    tokenizer: TokenizerFiles,
    templates: Iterable[str | None],
    stop: Sequence[str] = (),
) -> tuple[End, ...]:
    """Every end of sequence; the ids of files come first.

    generation_config.json decides, else config.json. The tokenizer's own end and the end of a turn in the
    templates count too: many fine-tunes keep the base model's id in both files, and answers would never stop.
    stop: stop strings of the recipe; one that is a special token ends a sequence.
    Raises CheckpointError when there is no end, or an id is none of the model's; InvalidRequest for a stop
    string that no answer can have.
    """
    listed = {name: _listed(directory / name) for name in (GENERATION, architecture.FILE_NAME)}
    deciding: list[Any] = next((ids for ids in listed.values() if ids), [])
    for token in deciding:
        if not isinstance(token, int) or not 0 <= token < vocab_size:
            raise CheckpointError(
                f"{directory}: eos_token_id {token!r} is not one of the model's {vocab_size} tokens; "
                f"correct it in {GENERATION} or config.json."
            )
    found = {token: [name for name, ids in listed.items() if token in ids] for token in deciding}
    if tokenizer.eos_token_id is not None:
        found.setdefault(tokenizer.eos_token_id, []).append(CONFIG)
    for template in filter(None, templates):
        end = turn_end(template, tokenizer.tokenizer)
        if end is not None and end.token_id is not None and TEMPLATE not in found.get(end.token_id, ()):
            found.setdefault(end.token_id, []).append(TEMPLATE)
    for text in stop:
        token_id = stop_token(text, tokenizer.tokenizer, CHAT_STOP)
        if token_id is not None:
            found.setdefault(token_id, []).append(CHAT_STOP)
    if not found:
        raise CheckpointError(
            f"{directory} names no end of sequence (eos_token_id in {GENERATION} or config.json, eos_token "
            "in tokenizer_config.json), so answers would never end; add the one the model was trained with."
        )
    encoder = tokenizer.tokenizer.encoder
    return tuple(
        End(token, encoder.id_to_token(token) or "unused", tuple(names)) for token, names in found.items()
    )


def _listed(path: Path) -> list[Any]:
    """The ids in a file; empty if there is none."""
    value = json_file.read(path).get("eos_token_id") if path.is_file() else None
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]
