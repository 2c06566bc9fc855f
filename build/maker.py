"""How an engine is made for each family of targets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from build.checkpoint.checkpoint import Checkpoint
from build.facts import Facts
from slipway.contract.manifest import Manifest
from slipway.contract.recipe import Recipe
from slipway.contract.target import Target


class Maker(Protocol):
    """The steps of a build that differ between targets; each maker is a module."""

    def facts(self, recipe: Recipe, words: Sequence[str]) -> Facts:
        """What the maker adds to the manifest.

        words: the arguments of the command `engine`, for messages that show how to run it elsewhere.
        Raises SlipwayError when this machine cannot build for the target.
        """

    def make(
        self, recipe: Recipe, checkpoint: Checkpoint, planned: Manifest, work: Path, engine: Path, log: Path
    ) -> None:
        """Build into `engine`, which holds the tokenizer and the templates already.

        work: a folder for intermediate files. log: the file for the output of other programs.
        Raises SlipwayError when the engine does not come out as the recipe asks.
        """

    def try_out(self, engine: Path) -> None:
        """Check the finished engine as serving would. Raises SlipwayError."""


def maker_of(target: Target) -> Maker:
    """The maker of a target. It is imported here: the container of TensorRT-LLM has no ONNX packages."""
    match target.runtime:
        case "onnxruntime" | "genai":
            from build.onnx import engine as onnx_engine

            return onnx_engine
        case "openvino":
            from build.openvino import engine as openvino_engine

            return openvino_engine
        case "trtllm":
            from build.trtllm import engine as trtllm_engine

            return trtllm_engine
        case "llmapi":
            from build.trtllm import llmapi

            return llmapi
