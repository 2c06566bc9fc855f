"""What building differs in from target to target; `engine` asks the maker of a recipe's target."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from build.checkpoint.checkpoint import Checkpoint
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Recipe
from slipway.contract.target import Target


@dataclass(frozen=True, slots=True)
class Facts:
    """What the maker adds to the manifest, under the manifest's names.

    settings: what else decides how the engine turns out; when it changes, a build is due.
    """

    method: str
    versions: dict[str, str]
    requires: dict[str, str]
    device: str
    compute_capability: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


class Maker(Protocol):
    """The modules `onnx_engine`, `trtllm_engine` and `llmapi_engine`."""

    def facts(self, recipe: Recipe, words: Sequence[str]) -> Facts:
        """Raises SlipwayError when this machine cannot build for the target.

        words: what was given to the command `engine`, for a sentence that says where to give it instead.
        """

    def make(
        self, recipe: Recipe, checkpoint: Checkpoint, planned: Manifest, work: Path, engine: Path, log: Path
    ) -> None:
        """Build into `engine`, where tokenizer and template lie already; `work` is for all else.

        log: where a program's own words go. Raises SlipwayError when no right engine comes out.
        """

    def try_out(self, engine: Path) -> None:
        """Have the whole engine, manifest and all, do what serving does. Raises SlipwayError."""


def maker_of(target: Target) -> Maker:
    """The maker for a target, imported here: where TensorRT-LLM compiles, no ONNX package is installed."""
    match target.runtime:
        case "onnxruntime" | "genai":
            from build.onnx import engine as onnx_engine

            return onnx_engine
        case "trtllm":
            from build.trtllm import engine as trtllm_engine

            return trtllm_engine
        case "llmapi":
            from build.trtllm import llmapi_engine

            return llmapi_engine
