"""The forward pass on plain onnxruntime (CPU), with a KV slot per sequence; made by `executors`."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from engines.errors import EngineRefused
from runtime.cpu import attend_without_flash
from runtime.executors import Capabilities
from runtime.genai_config import check_context, read_model
from runtime.kv_cache import FloatArray, KVCache
from runtime.slots import spans

# What onnxruntime raises for a graph it cannot load; they have no common base.
_LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class SlotExecutor:
    """Runs the graph that ONNX Runtime GenAI's builder writes, over slots of one shared KV cache.

    A sequence is prefilled into a free slot of its own, in one chunk or several; any set of slots is then
    decoded together, one token each.
    Not thread-safe: one thread drives it.

    A row's logits are the same bits alone and among others: GroupQueryAttention works row by row, and the
    MatMulNBits kernels quantise activations per row and sum each row in one order whatever the batch; so do
    the integer products of int8 engines. The tests hold this for int4 and int8, because the answer to a
    request rests on it.
    """

    capabilities = Capabilities(appends=True, copies=True, reserves=False)

    def __init__(self, directory: Path, slots: int, max_len: int, threads: int) -> None:
        """Load the graph of the engine in `directory`.

        slots: sequences held at once. max_len: tokens a slot holds. threads: cores a pass uses.
        Raises EngineRefused when the graph does not load or cannot hold max_len positions.
        """
        model = read_model(directory)
        decoder = model.decoder
        check_context(directory, model, max_len)
        attend_without_flash()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        if not _has_vnni():
            # Such CPUs add pairs of 8-bit products in 16 bits, which int8 graphs overflow; this makes
            # onnxruntime take a slower kernel that is exact.
            options.add_session_config_entry("session.x64quantprecision", "1")
        path = directory / decoder.filename
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except _LOAD_ERRORS as error:
            raise EngineRefused(
                f"{path} does not load in onnxruntime {ort.__version__} ({_first_line(error)}); "
                "build the engine again."
            ) from error
        self._names = decoder
        self._cache = KVCache(
            decoder.num_hidden_layers, slots, decoder.num_key_value_heads, max_len, decoder.head_size
        )
        self._lengths = np.zeros(slots, dtype=np.int64)
        self._positions = np.arange(max_len)
        self._logits = np.empty((slots, model.vocab_size), dtype=np.float32)
        self._bindings: dict[tuple[int, int], ort.IOBinding] = {}
        self.session_s = 0.0  # spent inside onnxruntime so far

    def prefill(self, slot: int, token_ids: Sequence[int]) -> FloatArray:
        """Append a chunk of a prompt to what a slot holds.

        Returns the logits after its last token, float32 [vocab], valid until the next call. Wherever the
        chunks end, logits and cache are the same bits, unless a chunk is a single token: that goes through
        other kernels, as a decoded one does.
        """
        self._run(slot, slot + 1, np.array([token_ids], dtype=np.int64))
        self._lengths[slot] += len(token_ids)
        return self._row(slot)

    def decode(self, slots: Sequence[int], token_ids: Sequence[int]) -> list[FloatArray]:
        """Append one token to each of `slots`, which ascend.

        Returns the logits after it for each, float32 [vocab], valid until the next call.
        """
        tokens = np.zeros((len(self._lengths), 1), dtype=np.int64)
        tokens[slots, 0] = token_ids
        for start, stop in spans(slots, self._lengths):
            self._run(start, stop, tokens[start:stop])
        self._lengths[slots] += 1
        return [self._row(slot) for slot in slots]

    def copy(self, source: int, slot: int, length: int) -> None:
        """Make a slot hold the first `length` tokens of another one, instead of what it held."""
        self.release(slot)
        self._cache.copy(source, slot, length)
        self._lengths[slot] = length

    def release(self, slot: int, keep: int = 0) -> None:
        """Forget all but the first `keep` tokens of a slot and give their memory back."""
        self._lengths[slot] = keep
        self._cache.release(slot, keep)

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of one token."""
        return self._cache.bytes_per_token

    def _row(self, slot: int) -> FloatArray:
        row: FloatArray = self._logits[slot]
        return row

    def _run(self, start: int, stop: int, token_ids: NDArray[np.int64]) -> None:
        """Run token_ids, int64 [stop - start, new], through slots start to stop.

        The logits of each slot's last token land in self._logits. An idle slot inside the range is computed
        too: its key and value are written where its next token will be, so nothing that counts changes.
        """
        lengths = self._lengths[start:stop] + token_ids.shape[1]
        mask = (self._positions[: lengths.max()] < lengths[:, None]).astype(np.int64)
        binding = self._binding(start, stop)
        _bind(binding.bind_input, self._names.inputs.input_ids, token_ids)
        _bind(binding.bind_input, self._names.inputs.attention_mask, mask)
        started = time.perf_counter()
        self._session.run_with_iobinding(binding)
        self.session_s += time.perf_counter() - started

    def _binding(self, start: int, stop: int) -> ort.IOBinding:
        """The binding of a range of slots; caches and logits are bound once and stay."""
        if (start, stop) not in self._bindings:
            binding = self._session.io_binding()
            inputs, outputs = self._names.inputs, self._names.outputs
            for layer, (key, value) in enumerate(zip(self._cache.keys, self._cache.values, strict=True)):
                _bind(binding.bind_input, inputs.past_key_names % layer, key[start:stop])
                _bind(binding.bind_input, inputs.past_value_names % layer, value[start:stop])
                _bind(binding.bind_output, outputs.present_key_names % layer, key[start:stop])
                _bind(binding.bind_output, outputs.present_value_names % layer, value[start:stop])
            _bind(binding.bind_output, outputs.logits, self._logits[start:stop, None])
            self._bindings[start, stop] = binding
        return self._bindings[start, stop]


def _bind(bind: Callable[..., None], name: str, array: NDArray[np.generic]) -> None:
    """Bind the memory of a contiguous array; the caller keeps the array alive while the session runs."""
    bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


def _has_vnni() -> bool:
    """Whether this CPU is known to add products of 8-bit numbers in 32 bits; only Linux tells."""
    cpu = Path("/proc/cpuinfo")
    return cpu.is_file() and "vnni" in cpu.read_text(encoding="utf-8")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
