"""The forward pass through ONNX Runtime GenAI, with a generator per slot.

It uses only calls that onnxruntime-genai 0.13.1 (the newest that installs for DirectML) and 0.18 share.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime_genai as og

from slipway.contract.errors import EngineRefused
from slipway.contract.manifest import Manifest
from slipway.contract.target import Device
from slipway.runtime.cpu import disable_flash_attention
from slipway.runtime.executors.base import Capabilities, SlotMemory
from slipway.runtime.executors.genai_config import check_context, read_model
from slipway.runtime.kv_cache import FloatArray

_NEVER = np.float32(-1e30)  # the logit of a token that must not be chosen
_FLOAT16 = 2  # bytes: keys and values of the graphs that the builder writes for GPUs


class _Provider(NamedTuple):
    name: str
    packages: str
    available: Callable[[], bool]
    capabilities: Capabilities


_PROVIDERS: dict[Device, _Provider] = {
    # GenAI refuses to append to a generator on DirectML that is not empty (src/generators.cpp,
    # AppendTokens: "Continuous decoding is not supported").
    "dml": _Provider(
        "DirectML",
        "slipway[directml] on Windows",
        og.is_dml_available,
        Capabilities(appends=False, copies=False, reserves=True, extends=False, prompt_logits=False),
    ),
    "cuda": _Provider(
        "CUDA",
        "slipway[cuda]",
        og.is_cuda_available,
        Capabilities(appends=True, copies=False, reserves=True, extends=False, prompt_logits=False),
    ),
}


class GeneratorExecutor(SlotMemory):
    """Runs one `og.Generator` per slot; a step goes through them one after the other.

    A generator reserves its keys and values for `max_len` tokens when its slot is first used, and serves the
    slot from then on: on DirectML, memory grows with every new generator
    (microsoft/onnxruntime-genai issues 590 and 1620).
    The engine samples, and passes the chosen token to the generator. Not thread-safe.
    """

    def __init__(self, directory: Path, manifest: Manifest, max_len: int, threads: int, on_cpu: bool) -> None:
        """Load the graph of the engine in `directory`, built for a GPU.

        Arguments and errors are those of `open_executor`.
        """
        device = _PROVIDERS[manifest.target.device]
        if not on_cpu and not device.available():
            raise EngineRefused(
                f"Engine {manifest.name} is built for {device.name}, which the onnxruntime-genai here, "
                f"{og.__version__}, does not reach; install {device.packages}, try it on the CPU with "
                "`slipway generate --cpu`, or build it with target onnx-cpu."
            )
        model = read_model(directory)
        check_context(directory, model, max_len)
        # A generator stops at its end-of-sequence token, but the engine decides when an answer ends. GenAI
        # needs one, so it gets the last of the vocabulary, which models hardly ever choose.
        self._end = model.vocab_size - 1
        disable_flash_attention()
        config = og.Config(str(directory))
        if on_cpu:
            config.clear_providers()
        config.overlay(
            json.dumps(
                {
                    "model": {
                        "eos_token_id": self._end,
                        "decoder": {"session_options": {"intra_op_num_threads": threads}},
                    }
                }
            )
        )
        try:
            self._model = og.Model(config)
        except RuntimeError as error:
            raise EngineRefused(
                f"{directory} does not load in onnxruntime-genai {og.__version__} "
                f"({str(error).partition(chr(10))[0]}); build the engine again."
            ) from error
        decoder = model.decoder
        self.bytes_per_token = (
            2 * decoder.num_hidden_layers * decoder.num_key_value_heads * decoder.head_size * _FLOAT16
        )
        self.capabilities = device.capabilities
        self.session_s = 0.0
        self._max_len = max_len
        self._generators: dict[int, og.Generator] = {}
        self._choice = np.full((1, model.vocab_size), _NEVER, dtype=np.float32)

    def prefill(self, slot: int, token_ids: Sequence[int]) -> FloatArray:
        """Append a prompt, or a chunk if this executor appends, to a slot."""
        if slot not in self._generators:
            self._generators[slot] = self._generator()
        return self._read(self._generators[slot], token_ids)

    def prefill_each(self, slot: int, token_ids: Sequence[int]) -> FloatArray:
        """Not supported, as `capabilities` says."""
        raise NotImplementedError("GenAI gives the logits after the last of several tokens only.")

    def decode(self, slots: Sequence[int], token_ids: Sequence[int]) -> list[FloatArray]:
        """Append one token to each of `slots`."""
        return [
            self._append(self._generators[slot], token) for slot, token in zip(slots, token_ids, strict=True)
        ]

    def extend(self, slots: Sequence[int], token_ids: Sequence[Sequence[int]]) -> list[list[FloatArray]]:
        """Not supported, as `capabilities` says."""
        raise NotImplementedError("GenAI gives the logits after the last of several tokens only.")

    def rewind(self, slot: int, count: int) -> None:
        """Not needed without `extend` and `prefill_each`."""
        raise NotImplementedError("No call adds tokens that would be taken back.")

    def copy(self, source: int, slot: int, length: int) -> None:
        """Not supported, as `capabilities` says."""
        raise NotImplementedError("GenAI cannot copy the state of one generator to another.")

    def release(self, slot: int, keep: int = 0) -> None:
        """Forget all but the first `keep` tokens of a slot; the generator stays."""
        if slot in self._generators:
            self._generators[slot].rewind_to(keep)

    def _generator(self) -> og.Generator:
        params = og.GeneratorParams(self._model)
        # Search options from the checkpoint in genai_config.json would change the choice.
        params.set_search_options(
            max_length=self._max_len,
            min_length=0,
            batch_size=1,
            num_beams=1,
            do_sample=False,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
        )
        return og.Generator(self._model, params)

    def _append(self, generator: og.Generator, token: int) -> FloatArray:
        """Append a token by making it the likeliest, because DirectML has no other way."""
        if token == self._end:
            tokens = [*generator.get_sequence(0), token]
            generator.rewind_to(0)
            return self._read(generator, tokens)
        self._choice[0, token] = 0
        start = time.perf_counter()
        generator.set_logits(self._choice)
        generator.generate_next_token()
        logits = _logits(generator)
        self.session_s += time.perf_counter() - start
        self._choice[0, token] = _NEVER
        return logits

    def _read(self, generator: og.Generator, token_ids: Sequence[int]) -> FloatArray:
        start = time.perf_counter()
        generator.append_tokens(np.array(token_ids, dtype=np.int32))
        logits = _logits(generator)
        self.session_s += time.perf_counter() - start
        return logits


def _logits(generator: og.Generator) -> FloatArray:
    """The logits after the last token, from [1, 1, vocab]."""
    logits: FloatArray = generator.get_logits().reshape(-1)
    return logits
