"""A stand-in for TensorRT-LLM's LLM API: our ONNX engine behind its signatures.

Sources in NVIDIA/TensorRT-LLM 1.2: tensorrt_llm/llmapi/llm.py and llm_args.py, sampling_params.py,
executor/result.py, and _torch/pyexecutor/sampler.py (_handle_stop_criteria) for the end of an answer.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from slipway.contract.errors import SlipwayError
from slipway.contract.generation import SamplingParams as Sampling
from slipway.runtime.worker.process import EngineProcess

__all__ = ["LLM", "CompletionOutput", "RequestOutput", "SamplingParams"]

# A worker of mpi4py extends its path by the one it gets (futures/_core.py: client_spawn, _sync_set_data).
_WORKER = "import json, sys; sys.path.extend(json.load(sys.stdin)); print(json.dumps(sys.path))"
# Environment variables: the engine's folder, and the file to write the arguments of LLM to.
ENGINE, ARGUMENTS = "FAKE_LLM_ENGINE", "FAKE_LLM_ARGUMENTS"
# Fields of TorchLlmArgs and KvCacheConfig; other names are errors.
_ARGUMENTS = {
    *("pipeline_parallel_size", "max_batch_size", "max_num_tokens", "max_seq_len", "backend"),
    *("enable_chunked_prefill", "kv_cache_config"),
}
_KV_CACHE = {"free_gpu_memory_fraction", "dtype", "enable_block_reuse"}


@dataclass(slots=True, kw_only=True)
class SamplingParams:
    end_id: int | None = None
    max_tokens: int = 32
    stop_token_ids: list[int] | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    temperature: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    detokenize: bool = True

    @property
    def greedy(self) -> bool:
        unset = self.temperature is None and self.top_p is None and self.top_k is None
        return unset or self.top_k == 1 or self.top_p == 0 or self.temperature == 0


@dataclass(slots=True)
class CompletionOutput:
    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: int | str | None = None


class RequestOutput:
    """An answer. Each step of its iteration yields itself, with all tokens so far."""

    def __init__(self, llm: "LLM", name: str, sampling: SamplingParams) -> None:
        self._llm, self._name, self._sampling = llm, name, sampling
        self._loop = asyncio.get_running_loop()
        self._steps: asyncio.Queue[Any] = asyncio.Queue()
        self.outputs = [CompletionOutput(0)]
        self.finished = False

    def put(self, step: Any) -> None:
        self._loop.call_soon_threadsafe(self._steps.put_nowait, step)

    def abort(self) -> None:
        self._llm.abort(self._name)

    def __aiter__(self) -> "RequestOutput":
        return self

    async def __anext__(self) -> "RequestOutput":
        if self.finished:
            raise StopAsyncIteration
        step = await self._steps.get()
        if isinstance(step, SlipwayError):
            raise RuntimeError(str(step))
        [output], sampling = self.outputs, self._sampling
        output.token_ids.extend(step.token_ids)
        self.finished = step.finish_reason is not None
        if self.finished:
            output.finish_reason = step.finish_reason
            stop = sampling.stop_token_ids or []
            if step.finish_reason == "stop" and output.token_ids[-1:] in [[token] for token in stop]:
                # The length limit comes before stop words.
                if len(output.token_ids) == sampling.max_tokens:
                    output.finish_reason = "length"
                else:
                    output.stop_reason = output.token_ids[-1]
                    output.token_ids = output.token_ids[:-1]
            elif step.finish_reason == "stop" and sampling.end_id is not None:
                output.token_ids.append(sampling.end_id)
        return self


def _worker_path() -> Any:
    """sys.path of a worker, started as MPIPoolExecutor starts those of LLM."""
    command = [sys.executable, "-c", _WORKER]
    ran = subprocess.run(command, input=json.dumps(sys.path), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ran.stdout)


class LLM:
    def __init__(
        self,
        model: str,
        tokenizer: Any = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        unknown = kwargs.keys() - _ARGUMENTS | kwargs.get("kv_cache_config", {}).keys() - _KV_CACHE
        if unknown or not (Path(model) / "config.json").is_file():
            raise ValueError(f"LLM cannot be made of {model} with {unknown or 'no config.json'}")
        if ARGUMENTS in os.environ:
            seen = {"model": model, "skip_tokenizer_init": skip_tokenizer_init, **kwargs}
            seen["gpus"] = os.environ.get("CUDA_VISIBLE_DEVICES")
            seen["mpirun"] = os.environ.get("OMPI_COMM_WORLD_SIZE")
            seen["path"] = sys.path
            seen["worker_path"] = _worker_path()
            Path(os.environ[ARGUMENTS]).write_text(repr(seen))
        self._tokenizer = None if skip_tokenizer_init else tokenizer or model
        self._max_seq_len: int = kwargs["max_seq_len"]
        self._names = count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._engine = self._run(EngineProcess.start(Path(os.environ[ENGINE]))).result()

    def generate_async(
        self,
        inputs: list[int],
        sampling_params: SamplingParams | None = None,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
    ) -> RequestOutput:
        sampling = sampling_params or SamplingParams()
        if self._tokenizer is None and (sampling.end_id is None or not isinstance(inputs, list)):
            raise ValueError("tokenizer is required")
        if lora_request is not None or not streaming or sampling.detokenize:
            raise NotImplementedError
        if len(inputs) + sampling.max_tokens > self._max_seq_len:
            raise ValueError(f"The prompt and max_tokens exceed max_seq_len ({self._max_seq_len})")
        result = RequestOutput(self, str(next(self._names)), sampling)
        self._run(self._generate(result, inputs, sampling))
        return result

    def abort(self, name: str) -> None:
        self._loop.call_soon_threadsafe(self._engine.cancel, name)

    def shutdown(self) -> None:
        self._run(self._engine.close()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _generate(self, result: RequestOutput, inputs: list[int], asked: SamplingParams) -> None:
        sampling = Sampling(
            max_tokens=asked.max_tokens,
            temperature=0.0 if asked.greedy else asked.temperature or 1.0,
            top_p=asked.top_p or 1.0,
            top_k=asked.top_k or 0,
            eos_token_ids=(asked.end_id,) if asked.end_id is not None else (),
            stop_token_ids=tuple((token,) for token in asked.stop_token_ids or ()),
        )
        try:
            async with aclosing(self._engine.generate(result._name, inputs, sampling)) as deltas:
                async for delta in deltas:
                    result.put(delta)
        except SlipwayError as error:
            result.put(error)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)
