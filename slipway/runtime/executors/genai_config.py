"""genai_config.json: names and sizes of the graph.

Written by ONNX Runtime GenAI's builder; layout: microsoft/onnxruntime, docs/genai/reference/config.md.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import Manifest

FILE_NAME = "genai_config.json"
_FILE_KEYS = ("filename", "library", "path")


class Part(BaseModel):
    """A part of the file; other keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Inputs(Part):
    """Names of the graph's inputs; `%d` stands for the layer."""

    input_ids: str
    attention_mask: str
    past_key_names: str
    past_value_names: str


class Outputs(Part):
    """Names of the graph's outputs; `%d` stands for the layer."""

    logits: str
    present_key_names: str
    present_value_names: str


class Decoder(Part):
    """The graph, and the sizes of its KV cache."""

    filename: str
    head_size: int
    num_hidden_layers: int
    num_key_value_heads: int
    inputs: Inputs
    outputs: Outputs


class Model(Part):
    """context_length: positions the rotary tables of the graph hold. vocab_size: columns of the logits."""

    context_length: int
    vocab_size: int
    decoder: Decoder


class _File(Part):
    model: Model


def read_model(directory: Path) -> Model:
    """Read what `directory`/genai_config.json says about the graph.

    Raises EngineRefused that names the key that is missing or wrong.
    """
    path = directory / FILE_NAME
    try:
        return _File.model_validate_json(path.read_text(encoding="utf-8")).model
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise EngineRefused(f"{path} is wrong at {where} ({first['msg']}); build the engine again.") from None


def check_files(directory: Path, manifest: Manifest) -> None:
    """Raise EngineRefused when the file names one that is not among the engine's files.

    Those have digests, and lie in the engine's folder. GenAI reads whatever file it finds named here.
    """
    path = directory / FILE_NAME
    if FILE_NAME not in manifest.files:
        raise EngineRefused(f"{path} is not among the engine's files; build the engine again.")
    for name in _named_files(_parsed(path)):
        if name not in manifest.files:
            raise EngineRefused(
                f"{path} names {name!r}, which is not among the engine's files; build the engine again."
            )


def _parsed(path: Path) -> JsonValue:
    try:
        parsed: JsonValue = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EngineRefused(f"{path} is damaged ({error}); build the engine again.") from None
    return parsed


def _named_files(value: JsonValue) -> Iterator[str]:
    """The values of keys that name a file, such as `filename` and `custom_ops_library`, at any depth."""
    if isinstance(value, list):
        for each in value:
            yield from _named_files(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if isinstance(each, str) and key.lower().endswith(_FILE_KEYS):
                yield each
            else:
                yield from _named_files(each)


def check_context(directory: Path, model: Model, max_len: int) -> None:
    """Raise EngineRefused when the graph of the engine in `directory` cannot hold max_len positions."""
    if max_len > model.context_length:
        raise EngineRefused(
            f"Engine {directory} has max_seq_len {max_len}, but its graph holds {model.context_length} "
            "positions; lower limits.max_seq_len in the recipe and build it again."
        )
