"""A TensorRT-LLM engine without its weights: manifest, tokenizer and Triton models."""

import shutil
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from support.linked import linked
from tritonclient.grpc import model_config_pb2

from slipway.contract.manifest import FILE_NAME, FileDigest, Manifest
from slipway.contract.stage_names import engine_stage
from slipway.contract.target import TARGETS
from slipway.text import template, tokenizer, tokenizer_info
from slipway.text.tokenizer import Tokenizer
from slipway.triton.repository import write_repository

NAME = "compiled"


def compiled_engine(onnx: Path, directory: Path, **changes: Any) -> Path:
    """Write an engine folder with the tokenizer and limits of the engine in `onnx`, without weights."""
    engine = directory / NAME
    engine.mkdir(parents=True)
    for name in (*tokenizer.FILES, template.FILE_NAME):
        shutil.copy(onnx / name, engine)
    built = Manifest.read(onnx)
    built = built.model_copy(
        update={
            "name": NAME,
            "target": TARGETS["tensorrt-llm"],
            "quantization": "none",
            "requires": {},
            **changes,
        }
    )
    info = tokenizer_info.tokenizer_info(Tokenizer.load(engine), built.eos_token_ids)
    (engine / tokenizer_info.FILE_NAME).write_text(info, encoding="utf-8")
    files = {path.name: FileDigest.of(path) for path in engine.iterdir()}
    (engine / FILE_NAME).write_text(built.model_copy(update={"files": files}).model_dump_json())
    return engine


def renamed(engine: Path, directory: Path, name: str, **changes: Any) -> Path:
    """The same engine under another name, with gauges of its own."""
    copy = directory / name
    copy.mkdir()
    for path in engine.iterdir():
        if path.name != FILE_NAME:
            linked(path, copy / path.name)
    built = Manifest.read(engine).model_copy(update={"name": name, **changes})
    (copy / FILE_NAME).write_text(built.model_dump_json())
    return copy


def read_config(model: Path) -> Any:
    """A model's config.pbtxt as Triton's own protobuf."""
    text = (model / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def stand_in(engine: Path, onnx: Path, repository: Path) -> None:
    """Write the models of `engine`; their engine stage runs the engine in `onnx`."""
    write_repository(engine, repository)
    model = repository / engine_stage(NAME)
    config = read_config(model)
    config.backend = "python"
    config.ClearField("parameters")
    # Under a name of its own: for Slipway the models are those of a compiled engine.
    config.parameters["stand_in_dir"].string_value = str(onnx)
    (model / "config.pbtxt").write_text(text_format.MessageToString(config, as_utf8=True))
    shutil.copy(Path(__file__).parent / "trtllm_backend.py", model / "1" / "model.py")
