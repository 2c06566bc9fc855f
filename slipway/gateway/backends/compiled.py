"""The backend of an engine for TensorRT-LLM's C++ backend behind Triton: token ids in, token ids out."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from slipway.contract.generation import Delta, GenerationRequest
from slipway.contract.manifest import Manifest
from slipway.contract.stage_names import engine_stage
from slipway.gateway.backends import compiled_tensors
from slipway.gateway.backends.stop_token import without_stop_token
from slipway.gateway.backends.triton_model import TritonModel
from slipway.gateway.grammars.check import GrammarCheck
from slipway.text.detokenizer import Detokenizer
from slipway.text.tokenizer import Tokenizer


class CompiledBackend(TritonModel):
    """The engine stage of an ensemble, called without the ensemble.

    Cancelling such a call ends the generation. Through the ensemble only a `stop` request would end it, and
    NVIDIA's backend never frees its model after one.
    """

    stages = True

    def __init__(self, manifest: Manifest, url: str, tokenizer: Tokenizer, grammars: GrammarCheck) -> None:
        """grammars: tells whether an answer is complete."""
        names = compiled_tensors.all_names(manifest)
        super().__init__(manifest.name, url, names, {}, called=engine_stage(manifest.name))
        self._manifest = manifest
        self._tokenizer = tokenizer
        self._grammars = grammars

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer in pieces.

        The engine gives no finish reason, so it follows from the answer: "stop" if it has fewer tokens than
        allowed (the token that ends it is not counted) or completes its grammar.
        """
        grammar = request.sampling.grammar
        text, tokens, stop_token_id = "", 0, None
        detokenizer = Detokenizer(self._tokenizer)
        inputs = compiled_tensors.inputs(request, self._manifest)
        outputs = compiled_tensors.outputs(request)
        async with aclosing(self._responses(request.request_id, inputs, outputs)) as results:
            async for result in results:
                delta = compiled_tensors.delta(request, result, self._manifest.eos_token_ids)
                delta = without_stop_token(delta, request.stop_tokens, report_end=False)
                stop_token_id = delta.stop_token_id
                piece = detokenizer.push(delta.token_ids)
                tokens += delta.token_count
                if grammar is not None:
                    text += piece
                if delta.token_count:
                    yield replace(delta, text=piece, stop_token_id=None)
        # After the loop, so that the call ends by itself.
        complete = tokens < request.sampling.max_tokens or (
            grammar is not None and await self._grammars.ends(grammar, text)
        )
        yield Delta(finish_reason="stop" if complete else "length", stop_token_id=stop_token_id)
