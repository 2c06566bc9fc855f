"""An engine behind Triton: one gRPC stream per request to the ensemble; made by `gateway.server`.

Tensors: NVIDIA/TensorRT-LLM triton_backend, all_models/inflight_batcher_llm/{ensemble,tensorrt_llm}.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import get_args

import numpy as np
from tritonclient.grpc import InferInput, InferResult

from slipway.contract.errors import ModelUnavailable, SlipwayError
from slipway.contract.generation import (
    Delta,
    FinishReason,
    GenerationRequest,
    Grammar,
    SamplingParams,
    TopLogProbs,
)
from slipway.contract.stage_names import engine_stage
from slipway.contract.target import Target
from slipway.gateway.backends.base import Load
from slipway.gateway.backends.tensors import Tensors
from slipway.gateway.backends.triton_model import TritonModel, tensor
from slipway.gateway.grammars.check import GrammarCheck

# TensorRT-LLM's way to say that no token ends the sequence.
_NO_END_ID = -1
# The likeliest tokens and their log-probabilities, as the ensembles of ONNX engines tell them.
_LIKELIEST = ["top_log_prob_ids", "top_log_probs"]
# A stage that is busy answers a probe all the same, between two steps.
_PROBE_TIMEOUT_S = 2.0
# A stop request is answered at once; past this the server hangs, and its own timeouts must end the answer.
_STOP_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


class TritonBackend:
    """One model on a Triton server. Made inside the running event loop.

    grammars: what tries grammars before the engine sees them; None where the engine does it itself.
    """

    def __init__(self, model: str, target: Target, url: str, grammars: GrammarCheck | None) -> None:
        self._name = model
        self._onnx = not target.compiled
        self._model = TritonModel(model, url, _tensors(self._onnx))
        self._grammars = grammars
        self._stops: set[asyncio.Task[None]] = set()

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        """See `gateway.backends.base.Backend.generate`.

        TensorRT-LLM does not say why an answer ended. End-of-sequence is not counted here, so fewer tokens
        than allowed mean "stop", also where it came in the place of the last one, and so does an answer that
        its grammar has no more for. ONNX engines say it.
        """
        grammar = request.sampling.grammar
        if self._grammars is not None and grammar is not None:
            read = await self._grammars.checked(grammar)
            request = replace(request, sampling=replace(request.sampling, grammar=read))
        max_tokens = request.sampling.max_tokens
        tokens = 0
        text = ""
        running = True
        said: FinishReason | None = None
        results = self._model.responses(request.request_id, _inputs(request), _outputs(request, self._onnx))
        try:
            async with aclosing(results):
                async for result in results:
                    delta = _delta(request, result)
                    tokens += delta.token_count
                    if grammar is not None:
                        text += delta.text
                    said = delta.finish_reason or said
                    if delta.text or delta.token_count or delta.cached_tokens is not None:
                        yield replace(delta, finish_reason=None)
            running = False
        except SlipwayError:
            running = False
            raise
        finally:
            if running:
                await self._stop(request.request_id)
        if said is None:
            ended = tokens < max_tokens or await self._is_complete(grammar, text)
            said = "stop" if ended else "length"
        yield Delta(finish_reason=said)

    async def check(self) -> None:
        """See `gateway.backends.base.Backend.check`."""
        await self._model.check()

    async def probe(self) -> None:
        """See `gateway.backends.base.Backend.probe`.

        Triton calls a stage ready whose engine is being started again; the stage itself says that it is, to
        whoever stops a request.
        """
        await self._model.probe()
        if self._onnx:
            await self._ask_stage()

    async def bring_up(self) -> None:
        """See `gateway.backends.base.Backend.bring_up`."""
        await self._model.bring_up()

    async def take_down(self) -> None:
        """See `gateway.backends.base.Backend.take_down`."""
        await self._model.take_down(stages=True)

    async def close(self) -> None:
        """See `gateway.backends.base.Backend.close`; waits for the stop requests that are on their way."""
        if self._stops:
            await asyncio.wait(self._stops)
        if self._grammars is not None:
            await self._grammars.close()
        await self._model.close()

    @property
    def load(self) -> Load | None:
        """Triton publishes it on its own metrics port."""
        return None

    async def _stop(self, request_id: str) -> None:
        """Tell the engine stage to end a generation, because an ensemble does not pass cancellation on.

        Its own task, so that it arrives even when the caller is being cancelled.
        """
        task = asyncio.create_task(self._send_stop(request_id))
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)
        await asyncio.shield(task)

    async def _is_complete(self, grammar: Grammar | None, answer: str) -> bool:
        if self._grammars is None or grammar is None:
            return False
        return await self._grammars.ends(grammar, answer)

    async def _ask_stage(self) -> None:
        """Raise ModelUnavailable, in the stage's words, unless its engine takes requests."""
        stage = engine_stage(self._name)
        responses = self._model.responses(
            secrets.token_hex(8), _stop_inputs(), model=stage, timeout=_PROBE_TIMEOUT_S
        )
        try:
            async for _ in responses:
                pass
        except SlipwayError as error:
            raise ModelUnavailable(f"{self._name} is not ready: {error}") from None

    async def _send_stop(self, request_id: str) -> None:
        responses = self._model.responses(
            request_id, _stop_inputs(), model=engine_stage(self._name), timeout=_STOP_TIMEOUT_S
        )
        try:
            async for _ in responses:
                pass
        except SlipwayError as error:
            _log.warning("Triton did not stop request %s: %s", request_id, error)


def _delta(request: GenerationRequest, result: InferResult) -> Delta:
    """What a response adds to the answer, an end-of-sequence token left out."""
    tensors = Tensors(result)
    new = tensors.total("num_output_tokens")
    ended = not request.sampling.ignore_eos and tensors.some("end_of_sequence")
    delta = Delta(
        text=tensors.text("text_output"),
        token_count=new - ended,
        cached_tokens=tensors.total("cached_tokens") if "cached_tokens" in tensors else None,
        finish_reason=_finish(tensors),
    )
    if not request.sampling.log_probs or not new:
        return delta
    return replace(
        delta,
        token_ids=tuple(result.as_numpy("output_ids").reshape(-1)[: delta.token_count].tolist()),
        # Those of the new tokens come last: TensorRT-LLM repeats all earlier ones.
        log_probs=tensors.last("output_log_probs", new)[: delta.token_count],
        top_log_probs=_top_log_probs(result, delta.token_count) if request.sampling.top_log_probs else (),
    )


def _finish(tensors: Tensors) -> FinishReason | None:
    said = tensors.text("finish_reason") if "finish_reason" in tensors else None
    return next((reason for reason in get_args(FinishReason) if reason == said), None)


def _top_log_probs(result: InferResult, count: int) -> tuple[TopLogProbs, ...]:
    """Those of the first `count` tokens of a response; ids of -1 fill up rows that have fewer."""
    ids, log_probs = (result.as_numpy(name)[0, 0, :count] for name in _LIKELIEST)
    return tuple(
        TopLogProbs(tuple(row[row >= 0].tolist()), tuple(told[row >= 0].tolist()))
        for row, told in zip(ids, log_probs, strict=True)
    )


def _outputs(request: GenerationRequest, onnx: bool) -> list[str]:
    """What is read of the ensemble's outputs; the others, metrics above all, stay there."""
    names = ["text_output", "num_output_tokens", "end_of_sequence"]
    if onnx:
        names += ["cached_tokens", "finish_reason"]
    if request.sampling.log_probs:
        names += ["output_ids", "output_log_probs"]
    if request.sampling.top_log_probs:
        names += _LIKELIEST
    return names


def _inputs(request: GenerationRequest) -> list[InferInput]:
    """The ensemble's inputs, each [1, 1]."""
    sampling = request.sampling
    greedy = sampling.temperature == 0
    # TensorRT-LLM takes 0 when none is given, and every answer would come out the same.
    seed = secrets.randbits(64) if sampling.seed is None else sampling.seed
    inputs = [
        tensor("text_input", [[request.prompt.encode()]], np.object_),
        tensor("max_tokens", [[sampling.max_tokens]], np.int32),
        tensor("stream", [[True]], np.bool_),
        tensor("return_num_output_tokens", [[True]], np.bool_),
        tensor("temperature", [[1.0 if greedy else sampling.temperature]], np.float32),
        tensor("top_p", [[sampling.top_p]], np.float32),
        tensor("top_k", [[1 if greedy else sampling.top_k]], np.int32),
        tensor("seed", [[seed]], np.uint64),
    ]
    if not request.prompt:
        inputs.append(tensor("prompt_token_ids", [request.prompt_token_ids], np.int32))
    if sampling.min_tokens:
        inputs.append(tensor("min_tokens", [[sampling.min_tokens]], np.int32))
    for name, value, neutral in (
        ("repetition_penalty", sampling.repetition_penalty, 1),
        ("presence_penalty", sampling.presence_penalty, 0),
        ("frequency_penalty", sampling.frequency_penalty, 0),
        ("min_p", sampling.min_p, 0),
    ):
        if value != neutral:
            inputs.append(tensor(name, [[value]], np.float32))
    if sampling.grammar is not None:
        inputs.append(tensor("guided_decoding_guide_type", [[sampling.grammar.kind.encode()]], np.object_))
        inputs.append(tensor("guided_decoding_guide", [[sampling.grammar.text.encode()]], np.object_))
    if sampling.logit_bias:
        ids, values = zip(*sampling.logit_bias, strict=True)
        inputs.append(tensor("logit_bias_ids", [ids], np.int32))
        inputs.append(tensor("logit_bias_values", [values], np.float32))
    if sampling.log_probs:
        inputs.append(tensor("return_log_probs", [[True]], np.bool_))
    if sampling.top_log_probs:
        inputs.append(tensor("num_top_log_probs", [[sampling.top_log_probs]], np.int32))
    if sampling.ignore_eos:
        inputs.append(tensor("end_id", [[_NO_END_ID]], np.int32))
    return inputs


def _tensors(onnx: bool) -> frozenset[str]:
    """All that a request to the ensemble names: those of one that asks for everything its engine can do."""
    everything = SamplingParams(
        max_tokens=1,
        min_tokens=1,
        min_p=0.5 * onnx,
        repetition_penalty=2.0,
        presence_penalty=1.0,
        frequency_penalty=1.0,
        logit_bias=((0, 1.0),),
        ignore_eos=True,
        log_probs=True,
        top_log_probs=int(onnx),
        grammar=Grammar("regex", "a"),
    )
    request = GenerationRequest("", "", (0,), everything)
    return frozenset((*(each.name() for each in _inputs(request)), *_outputs(request, onnx)))


def _stop_inputs() -> list[InferInput]:
    """Of the engine stage, for a request to end the one with its id."""
    return [
        tensor("input_ids", [[0]], np.int32),
        tensor("input_lengths", [[1]], np.int32),
        tensor("request_output_len", [[1]], np.int32),
        tensor("stop", [[True]], np.bool_),
        tensor("streaming", [[True]], np.bool_),
    ]
