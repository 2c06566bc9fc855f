"""The forward pass on OpenVINO (CPU), with keys and values in blocks of 32 tokens."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from slipway.contract.manifest import Manifest
from slipway.runtime.block_cache import BLOCK, BlockCache, blocks_for
from slipway.runtime.executors import openvino_model
from slipway.runtime.executors.base import Capabilities
from slipway.runtime.executors.trials import chunks_differ, company_differs, drafts_differ
from slipway.runtime.kv_cache import FloatArray
from slipway.runtime.slots import Cut, Place

# Tokens for trials on an empty slot: a prompt of more than a block, what follows it, and where to cut it.
_PROMPT, _NEXT, _CUT = tuple(range(1, BLOCK + 10)), (3, 1, 4, 2), 10


class Stretch(NamedTuple):
    """Some tokens of one sequence in a pass.

    start: tokens of the sequence before them. blocks: where its tokens lie. wanted: how many of the last
    tokens' logits are returned.
    """

    token_ids: Sequence[int]
    start: int
    blocks: NDArray[np.int32]
    wanted: int = 1


class BlockExecutor:
    """Runs the decoder that `build/openvino` writes, on OpenVINO's paged attention.

    A pass takes tokens of any number of sequences. A row's logits do not depend on the pass, to the bit,
    under three rules, which loading tries out and tests check:

    - A pass of a single token goes through other kernels, so it gets a second row in a block of its own.
    - One token of a sequence goes through decode's attention, several go through prefill's. So a prompt's
      last chunk has at least two tokens, and draft tokens are rows of one token over the same blocks.
    - The lm_head, too, has another kernel for a single row.
    """

    def __init__(self, directory: Path, manifest: Manifest, slots: int, max_len: int, threads: int) -> None:
        """Load the graph of the engine in `directory`.

        slots: sequences held at once. max_len: tokens a slot holds. threads: cores a pass uses.
        Raises EngineRefused when the graph does not load or run here, or its weights do not fit into memory.
        """
        compiled = openvino_model.load(directory, manifest, threads)
        self._request = compiled.create_infer_request()
        caches = openvino_model.caches(compiled)
        # NumPy has no bfloat16, and only whole blocks are copied.
        sizes = {name: (*shape, kind.size) for name, (shape, kind) in caches.items()}
        blocks = blocks_for(max_len)
        self._cache = BlockCache(sizes, slots * blocks)
        # Until a request starts in a slot, it has blocks of its own.
        self._tables = np.arange(slots * blocks, dtype=np.int32).reshape(slots, blocks)
        for name, (shape, kind) in caches.items():
            array = self._cache.arrays[name]
            self._request.set_tensor(name, ov.Tensor(array, ov.Shape([len(array), *shape]), kind))
        self._lengths = [0] * slots
        self._inputs: dict[str, NDArray[np.generic]] = {}
        self.session_s = 0.0  # spent inside OpenVINO so far
        self._batches = True
        try:
            self.capabilities = self._tried(max_len)
        except RuntimeError as error:  # some kernels are made at the first pass
            raise openvino_model.refusal(directory, error, "run") from error

    def _tried(self, max_len: int) -> Capabilities:
        """What the rules leave, with this graph and these kernels."""
        prompt = _PROMPT[: max(max_len - len(_NEXT), 2)]
        following = _NEXT[: max_len - len(prompt)]
        notes = []
        if len(self._lengths) > 1 and company_differs(self, prompt, following):
            self._batches = False
            notes.append("Requests are decoded one by one: in one pass their numbers would change.")
        appends = len(prompt) <= _CUT + 1 or not chunks_differ(self, prompt, following, _CUT)
        if not appends:
            notes.append("Prompts are read whole and not kept: in chunks their numbers would change.")
        extends = not drafts_differ(self, prompt, following)
        if not extends:
            notes.append("Nothing is drafted: several tokens in one pass would change their numbers.")
        return Capabilities(
            appends=appends,
            copies=False,
            reserves=False,
            extends=extends,
            prompt_logits=True,
            extends_together=self._batches,
            pages=True,
            notes=tuple(notes),
        )

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of one token."""
        return self._cache.bytes_per_token

    def prefill(self, slot: int, token_ids: Sequence[int]) -> FloatArray:
        """Append a chunk of a prompt to the tokens in a slot.

        Returns the logits after its last token, float32 [vocab], valid until the next call. Wherever the
        chunks end, logits and cache are the same bits, unless a chunk is a single token: that goes through
        other kernels, as a decoded one does.
        """
        row: FloatArray = self._append(slot, token_ids, 1)[0]
        return row

    def prefill_each(self, slot: int, token_ids: Sequence[int]) -> FloatArray:
        """Append a chunk of a prompt to the tokens in a slot.

        Returns the logits after each of its tokens, float32 [tokens, vocab].
        """
        return self._append(slot, token_ids, len(token_ids))

    def decode(self, slots: Sequence[int], token_ids: Sequence[int]) -> list[FloatArray]:
        """Append one token to each of `slots`, which ascend.

        Returns the logits after it for each, float32 [vocab], valid until the next call.
        """
        rows = [self._stretch(slot, [token]) for slot, token in zip(slots, token_ids, strict=True)]
        logits = list(self._run(rows)) if self._batches else [self._run([row])[0].copy() for row in rows]
        for slot in slots:
            self._lengths[slot] += 1
        return logits

    def extend(self, slots: Sequence[int], token_ids: Sequence[Sequence[int]]) -> list[list[FloatArray]]:
        """Append up to MAX_ROWS tokens to each of `slots` in one pass.

        Returns the logits after each, float32 [vocab], valid until the next call: the bits that `decode`
        gives for them one by one.
        """
        rows = []
        for slot, tokens in zip(slots, token_ids, strict=True):
            for token in tokens:
                rows.append(self._stretch(slot, [token]))
                self._lengths[slot] += 1
        logits = iter(self._run(rows))
        return [[next(logits) for _ in tokens] for tokens in token_ids]

    def rewind(self, slot: int, count: int) -> None:
        """Take back the last `count` tokens of a slot; what comes next is written over them."""
        self._lengths[slot] -= count

    def release(self, slot: int, keep: int = 0) -> None:
        """Forget all but the first `keep` tokens of a slot."""
        self._lengths[slot] = keep

    def start(self, place: Place) -> None:
        """Give a slot the pages of a starting request; `cached` tokens of its prompt are in them."""
        self._tables[place.slot, : len(place.pages)] = place.pages
        self._lengths[place.slot] = place.cached

    def free(self, cuts: Sequence[Cut]) -> None:
        """Give the memory of whole pages back to the operating system."""
        self._cache.release([page for page, _ in cuts])

    def _blocks(self, slot: int, length: int) -> NDArray[np.int32]:
        """The blocks of a slot's first `length` tokens."""
        blocks: NDArray[np.int32] = self._tables[slot, : blocks_for(length)]
        return blocks

    def _append(self, slot: int, token_ids: Sequence[int], wanted: int) -> FloatArray:
        logits = self._run([self._stretch(slot, token_ids, wanted)])
        self._lengths[slot] += len(token_ids)
        return logits

    def _stretch(self, slot: int, token_ids: Sequence[int], wanted: int = 1) -> Stretch:
        length = self._lengths[slot]
        return Stretch(token_ids, length, self._blocks(slot, length + len(token_ids)), wanted)

    def _run(self, rows: Sequence[Stretch]) -> FloatArray:
        """One pass. Returns the wanted logits, float32 [wanted, vocab], valid until the next pass."""
        wanted = sum(row.wanted for row in rows)
        if sum(len(row.token_ids) for row in rows) == 1:
            rows = [*rows, Stretch([0], 0, self._cache.scratch)]
        # Their memory must outlive the pass.
        self._inputs = _inputs(rows)
        for name, array in self._inputs.items():
            self._request.set_tensor(name, ov.Tensor(array, shared_memory=True))
        started = time.perf_counter()
        self._request.infer()
        self.session_s += time.perf_counter() - started
        logits: FloatArray = self._request.get_output_tensor(0).data[:wanted, 0]
        return logits


def _inputs(rows: Sequence[Stretch]) -> dict[str, NDArray[np.generic]]:
    """The inputs of a pass. The logits of a pass that wants a single row's are computed twice."""
    counts = [len(row.token_ids) for row in rows]
    ends = np.cumsum(counts)
    wanted = [np.arange(end - row.wanted, end) for row, end in zip(rows, ends, strict=True)]
    if sum(map(len, wanted)) == 1:
        wanted = 2 * wanted
    return {
        "input_ids": np.concatenate([row.token_ids for row in rows]).astype(np.int64),
        "position_ids": np.concatenate(
            [np.arange(row.start, row.start + count) for row, count in zip(rows, counts, strict=True)]
        ),
        "past_lens": np.array([row.start for row in rows], np.int32),
        "subsequence_begins": np.array([0, *ends], np.int32),
        "block_indices": np.concatenate([row.blocks for row in rows]),
        "block_indices_begins": np.cumsum([0, *(len(row.blocks) for row in rows)], dtype=np.int32),
        "max_context_len": np.array(max(row.start + len(row.token_ids) for row in rows), np.int32),
        openvino_model.WANTED: np.concatenate(wanted),
    }
