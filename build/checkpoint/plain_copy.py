"""A checkpoint for other programs: its weights, with a config.json and a tokenizer of what was checked."""

import json
import shutil
from pathlib import Path

from build.checkpoint import architecture
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.tokenizer_files import CONFIG
from build.checkpoint.transformers_config import transformers_config
from build.checkpoint.weights import SINGLE


def write_plain_copy(checkpoint: Checkpoint, directory: Path) -> None:
    """Write the new folder `directory`; nothing else of the checkpoint's files reaches its readers.

    The weights are links, or copies where the system makes no links.
    """
    directory.mkdir()
    ends = list(checkpoint.eos_token_ids)
    config = transformers_config(checkpoint.architecture)
    config |= {"eos_token_id": ends, "torch_dtype": checkpoint.weights.dtype}
    (directory / architecture.FILE_NAME).write_text(json.dumps(config, indent=2), encoding="utf-8")
    checkpoint.tokenizer.write(directory, None, None)
    # The class that reads tokenizer.json as it is; another may change it, or be unknown.
    tokenizer = {**checkpoint.tokenizer.special_tokens(), "tokenizer_class": "PreTrainedTokenizerFast"}
    (directory / CONFIG).write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    files = checkpoint.weights.files
    for name in files:
        _link(checkpoint.directory / name, directory / (SINGLE if len(files) == 1 else name))


def _link(source: Path, place: Path) -> None:
    try:
        place.symlink_to(source.resolve())
    except OSError:  # Windows reserves links to administrators
        shutil.copyfile(source, place)
