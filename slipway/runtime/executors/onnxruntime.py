"""The forward pass on plain onnxruntime (CPU), with a KV slot per sequence."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from slipway.contract.errors import EngineRefused
from slipway.runtime.cpu import disable_flash_attention, exact_products
from slipway.runtime.executors.base import MAX_EXTENDED_SLOTS, MAX_ROWS, Capabilities, SlotMemory
from slipway.runtime.executors.genai_config import check_context, read_model
from slipway.runtime.executors.trials import company_differs, drafts_differ
from slipway.runtime.kv_cache import FloatArray, KVCache, Window
from slipway.runtime.slots import spans

# Names that the build gives (build/onnx/drafts.py and build/onnx/positions.py).
_WRITE_FIRST, _FIRST = "write_first", "first_"
_LOGITS_AT = "logits_at"
_TRUE = np.array(True)
# Tokens for a trial on an empty slot: a prompt, and what follows it.
_PROBE = (1, 2), (3, 4, 5, 6)

# What onnxruntime raises for a graph it cannot load; they have no common base.
_LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class SlotExecutor(SlotMemory):
    """Runs the graph that ONNX Runtime GenAI's builder writes, over slots of one shared KV cache.

    A sequence is prefilled into a free slot of its own, in one chunk or several; any set of slots is then
    decoded together, one token each.
    Not thread-safe: one thread drives it.

    A row's logits do not depend on the batch, to the bit: GroupQueryAttention works row by row, and the
    MatMulNBits kernels quantize activations per row and sum each row in one order; so do the integer products
    of int8 engines. Tests check this for int4 and int8, because answers depend on it. Without AVX-512, the
    4-bit kernel for a single row sums in another order; loading detects that, and a lone row is then decoded
    together with an idle neighbour.

    Several tokens of one sequence are decoded in one pass as rows of such a batch, all over the memory of one
    slot (`extend`), so they too get the bits of a decode step. The graph then writes the new keys and values
    of all rows before it attends for any (build/onnx/drafts.py); loading detects a graph that does not.
    """

    def __init__(self, directory: Path, slots: int, max_len: int, threads: int) -> None:
        """Load the graph of the engine in `directory`.

        slots: sequences held at once. max_len: tokens a slot holds. threads: cores a pass uses.
        Raises EngineRefused when the graph does not load or cannot hold max_len positions.
        """
        model = read_model(directory)
        decoder = model.decoder
        check_context(directory, model, max_len)
        disable_flash_attention()
        options = ort.SessionOptions()
        # onnxruntime warns that `write_first` can be overridden, which is its purpose.
        options.log_severity_level = 3
        # In the order of the file, where nodes that write keys and values come before those that attend.
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        options.intra_op_num_threads = threads
        for entry in exact_products().items():
            options.add_session_config_entry(*entry)
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
        self._logits_of_window = np.empty((MAX_ROWS, model.vocab_size), dtype=np.float32)
        self._windows: OrderedDict[int, tuple[Window, dict[int, ort.IOBinding]]] = OrderedDict()
        self._widens = False
        # A pass over one row may give other bits than a pass over two.
        self._widens = slots > 1 and company_differs(self, *_PROBE)
        self.capabilities = Capabilities(
            appends=True,
            copies=True,
            reserves=False,
            extends=self._extends(),
            prompt_logits=_LOGITS_AT in self._optional_inputs(),
        )

    def prefill(self, slot: int, token_ids: Sequence[int]) -> FloatArray:
        """Append a chunk of a prompt to the tokens in a slot.

        Returns the logits after its last token, float32 [vocab], valid until the next call. Wherever the
        chunks end, logits and cache are the same bits, unless a chunk is a single token: that goes through
        other kernels, as a decoded one does.
        """
        self._run_slots(slot, slot + 1, np.array([token_ids], dtype=np.int64))
        self._lengths[slot] += len(token_ids)
        return self._row(slot)

    def prefill_each(self, slot: int, token_ids: Sequence[int]) -> FloatArray:
        """Append a chunk of a prompt to the tokens in a slot.

        Returns the logits after each of its tokens, float32 [tokens, vocab]. The cache has the same bits as
        after `prefill`. The lm_head has another kernel for one row than for several, so the last logits may
        not be those that `prefill` gives.
        """
        count = len(token_ids)
        keys = [key[slot : slot + 1] for key in self._cache.keys]
        values = [value[slot : slot + 1] for value in self._cache.values]
        binding, places = self._bound(keys, values), np.arange(count)
        _bind(binding.bind_input, _LOGITS_AT, places)
        # onnxruntime takes no memory of another shape than the graph declares, which is one place.
        binding.bind_output(self._names.outputs.logits, "cpu")
        lengths = self._lengths[slot : slot + 1] + count
        self._run(binding, np.array([token_ids], dtype=np.int64), lengths)
        self._lengths[slot] += count
        logits: FloatArray = binding.get_outputs()[-1].numpy()[0]
        return logits

    def decode(self, slots: Sequence[int], token_ids: Sequence[int]) -> list[FloatArray]:
        """Append one token to each of `slots`, which ascend.

        Returns the logits after it for each, float32 [vocab], valid until the next call.
        """
        tokens = np.zeros((len(self._lengths), 1), dtype=np.int64)
        tokens[slots, 0] = token_ids
        for start, stop in spans(slots, self._lengths):
            if self._widens and stop - start == 1:
                start, stop = self._with_neighbour(start)
            self._run_slots(start, stop, tokens[start:stop])
        self._lengths[slots] += 1
        return [self._row(slot) for slot in slots]

    def _with_neighbour(self, slot: int) -> tuple[int, int]:
        """The range of a slot and the neighbour over which attention costs less."""
        last = len(self._lengths) - 1
        left = slot == last or (slot > 0 and self._lengths[slot - 1] < self._lengths[slot + 1])
        return (slot - 1, slot + 1) if left else (slot, slot + 2)

    def _extends(self) -> bool:
        """Whether `extend` works here, with the bits of `decode`; tried out on an empty slot."""
        writes_first = _WRITE_FIRST in self._optional_inputs()
        if not (self._cache.has_windows and writes_first) or len(self._positions) < sum(map(len, _PROBE)):
            return False
        return not drafts_differ(self, *_PROBE)

    def _optional_inputs(self) -> set[str]:
        return {each.name for each in self._session.get_overridable_initializers()}

    def extend(self, slots: Sequence[int], token_ids: Sequence[Sequence[int]]) -> list[list[FloatArray]]:
        """Append up to MAX_ROWS tokens to one slot in one pass.

        Returns the logits after each, float32 [vocab], valid until the next call: the bits that `decode`
        gives for them one by one.
        """
        [slot], [tokens] = slots, token_ids
        rows = len(tokens)
        if rows == 1:
            return [self.decode(slots, tokens)]
        lengths = self._lengths[slot] + 1 + np.arange(rows)
        self._run(self._window_binding(slot, rows), np.array(tokens, dtype=np.int64)[:, None], lengths)
        self._lengths[slot] += rows
        return [list(self._logits_of_window[:rows])]

    def rewind(self, slot: int, count: int) -> None:
        """Take back the last `count` tokens of a slot; what comes next is written over them."""
        self._lengths[slot] -= count

    def copy(self, source: int, slot: int, length: int) -> None:
        """Make a slot hold the first `length` tokens of another one, instead of what it held."""
        self.release(slot)
        self._cache.copy(source, slot, length)
        self._lengths[slot] = length

    def release(self, slot: int, keep: int = 0) -> None:
        """Forget all but the first `keep` tokens of a slot and give their memory back."""
        self._lengths[slot] = keep
        # Giving pages back takes longer the more often they are mapped.
        self._windows.pop(slot, None)
        self._cache.release(slot, keep)

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of one token."""
        return self._cache.bytes_per_token

    def _row(self, slot: int) -> FloatArray:
        row: FloatArray = self._logits[slot]
        return row

    def _run_slots(self, start: int, stop: int, token_ids: NDArray[np.int64]) -> None:
        """Run token_ids, int64 [stop - start, new], through slots start to stop.

        The logits of each slot's last token land in self._logits. An idle slot inside the range is computed
        too: its key and value are written where its next token will be, so nothing that counts changes.
        """
        if (start, stop) not in self._bindings:
            keys = [key[start:stop] for key in self._cache.keys]
            values = [value[start:stop] for value in self._cache.values]
            self._bindings[start, stop] = binding = self._bound(keys, values)
            _bind(binding.bind_output, self._names.outputs.logits, self._logits[start:stop, None])
        lengths = self._lengths[start:stop] + token_ids.shape[1]
        self._run(self._bindings[start, stop], token_ids, lengths)

    def _run(self, binding: ort.IOBinding, token_ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Run token_ids, int64 [rows, new]; lengths: tokens of each row with the new ones, int64 [rows]."""
        mask = (self._positions[: lengths.max()] < lengths[:, None]).astype(np.int64)
        _bind(binding.bind_input, self._names.inputs.input_ids, token_ids)
        _bind(binding.bind_input, self._names.inputs.attention_mask, mask)
        started = time.perf_counter()
        self._session.run_with_iobinding(binding)
        self.session_s += time.perf_counter() - started

    def _window_binding(self, slot: int, rows: int) -> ort.IOBinding:
        """The binding of this many rows of a slot's window."""
        if slot not in self._windows:
            if len(self._windows) == MAX_EXTENDED_SLOTS:
                self._windows.popitem(last=False)
            self._windows[slot] = self._cache.window(slot, MAX_ROWS), {}
        self._windows.move_to_end(slot)
        window, bindings = self._windows[slot]
        if rows not in bindings:
            keys = [key[:rows] for key in window.keys]
            values = [value[:rows] for value in window.values]
            bindings[rows] = binding = self._bound(keys, values)
            _bind(binding.bind_input, _WRITE_FIRST, _TRUE)
            outputs = self._names.outputs
            _bind(binding.bind_output, outputs.logits, self._logits_of_window[:rows, None])
            for layer, (key, value) in enumerate(zip(keys, values, strict=True)):
                _bind(binding.bind_output, _FIRST + outputs.present_key_names % layer, key)
                _bind(binding.bind_output, _FIRST + outputs.present_value_names % layer, value)
        return bindings[rows]

    def _bound(self, keys: Sequence[FloatArray], values: Sequence[FloatArray]) -> ort.IOBinding:
        """A binding of caches, [rows, kv_heads, max_len, head_size] per layer; they are bound once."""
        binding = self._session.io_binding()
        inputs, outputs = self._names.inputs, self._names.outputs
        for layer, (key, value) in enumerate(zip(keys, values, strict=True)):
            _bind(binding.bind_input, inputs.past_key_names % layer, key)
            _bind(binding.bind_input, inputs.past_value_names % layer, value)
            _bind(binding.bind_output, outputs.present_key_names % layer, key)
            _bind(binding.bind_output, outputs.present_value_names % layer, value)
        return binding


def _bind(bind: Callable[..., None], name: str, array: NDArray[np.generic]) -> None:
    """Bind the memory of a contiguous array; the caller keeps the array alive while the session runs."""
    bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
