"""The first stage: prompt text to token ids."""

from collections.abc import Mapping, Sequence
from typing import Any

from slipway.contract.errors import InvalidRequest
from slipway.contract.manifest import Manifest, open_engine
from slipway.text.tokenizer import FILES, Tokenizer
from slipway.triton import engine_folder, layout
from slipway.triton.stages import stage
from slipway.triton.stages.prompt import prepare


class TritonPythonModel:
    """One tokenizer; requests are independent."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the tokenizer.

        A damaged one, or models of another version, make the model unavailable, with a sentence as the
        reason.
        """
        directory = engine_folder.of_stage(args)
        manifest = Manifest.read(directory)
        layout.check(args, manifest)
        # NVIDIA's engine model does not check the manifest; this stage checks it for both.
        self._manifest = open_engine(directory, None if manifest.target.compiled else FILES)
        self._tokenizer = Tokenizer.load(directory)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            return stage.response(**prepare(stage.tensors(request), self._tokenizer, self._manifest))
        except InvalidRequest as error:
            return stage.refusal(error)
