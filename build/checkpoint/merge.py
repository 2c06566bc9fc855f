"""A base checkpoint and its LoRA adapters as the one checkpoint they make; used by `engine`.

Every number passes once, in pieces of 1 MiB or a row: memory depends on the adapter, not on the model.
The sum is made in fp32 and rounded once, to the base's dtype.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from build import progress
from build.checkpoint import adapter, architecture, json_file
from build.checkpoint.adapter import Adapter
from build.checkpoint.architecture import EMBEDDING, LM_HEAD, Architecture
from build.checkpoint.checkpoint import GENERATION, Checkpoint
from build.checkpoint.tokenizer_files import DEFINITION, TokenizerFiles
from build.checkpoint.weights import ALL_DTYPES, INDEX, Weights
from build.destination import Destination, check_room
from build.trtllm.tensor_file import TensorFile
from slipway.contract.errors import BuildError, CheckpointError
from slipway.contract.manifest import FileDigest


@dataclass(slots=True)
class _Source:
    """What a tensor is made of: one that is there, and what adapters add to it, in their order."""

    weights: Weights
    name: str
    adapters: list[Adapter]


@dataclass(frozen=True, slots=True)
class Merge:
    """Read but for the numbers, and known to fit together."""

    base: Checkpoint
    adapters: tuple[Adapter, ...]
    architecture: Architecture
    tokenizer: TokenizerFiles
    _sources: Mapping[str, _Source]

    @classmethod
    def open(cls, base: Path, adapters: Sequence[Path]) -> Self:
        """`adapters` are put in in this order. Raises CheckpointError."""
        checkpoint = Checkpoint.open(base)
        opened = tuple(Adapter.open(directory) for directory in adapters)
        tied = checkpoint.architecture.tied
        sources = {
            name: _Source(checkpoint.weights, name, [])
            for name in checkpoint.weights.tensors
            if not (tied and name == LM_HEAD)  # a copy that was saved all the same
        }
        for each in opened:
            tied = _put_in(each, sources, tied)
        rows = _shape(sources[EMBEDDING])[0]
        model = replace(checkpoint.architecture, vocab_size=rows, tied=tied)
        _check_shapes(model, sources)
        # The tokens that training added are in the tokenizer that lies beside the adapter.
        with_tokenizer = [each.directory for each in opened if (each.directory / DEFINITION).is_file()]
        tokenizer = TokenizerFiles.read(with_tokenizer[-1]) if with_tokenizer else checkpoint.tokenizer
        if tokenizer.largest_id >= rows:
            raise CheckpointError(
                f"The tokenizer in {tokenizer.directory} has ids up to {tokenizer.largest_id} "
                f"({tokenizer.largest_token!r}), but the embedding has {rows} rows, so the embedding that "
                "was trained with it is missing: save the adapter with save_embedding_layers=True."
            )
        return cls(checkpoint, opened, model, tokenizer, sources)

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """Every id that ends a sequence, as `Checkpoint` has them."""
        ids = self.base.eos_token_ids
        own = self.tokenizer.eos_token_id
        return ids if own is None else tuple(dict.fromkeys((*ids, own)))

    def digests(self) -> dict[str, FileDigest]:
        """Size and SHA-256 of every file that it is made from; an adapter's by its place among them."""
        found = self.base.digests()
        for index, each in enumerate(self.adapters):
            tokenizer = self.tokenizer.sources if self.tokenizer.directory == each.directory else ()
            for name in (adapter.CONFIG, *each.weights.files, *tokenizer):
                found[f"adapters/{index}/{name}"] = FileDigest.of(each.directory / name)
        return found

    def write(self, directory: Path) -> Checkpoint:
        """Make the folder `directory`, as save_pretrained of the merged model would.

        Raises CheckpointError when a number is not finite, BuildError when there is no room.
        """
        size = sum(
            prod(_shape(source)) * np.dtype(ALL_DTYPES[self._dtype(name)]).itemsize
            for name, source in self._sources.items()
        )
        check_room(directory, size, "merged checkpoint")
        for each in self.adapters:
            if each.base_name and not _called(self.base.directory, each.base_name):
                progress.say(
                    f"Note: {each.directory} was trained on {each.base_name}; that {self.base.directory} is "
                    "this model, no file says. In another of the same shape it gives what nobody trained."
                )
        directory.mkdir()
        self._write_weights(directory, size)
        values = json_file.read(self.base.directory / architecture.FILE_NAME)
        changed = {"vocab_size": self.architecture.vocab_size, "tie_word_embeddings": self.architecture.tied}
        (directory / architecture.FILE_NAME).write_text(json.dumps(values | changed, indent=2), "utf-8")
        copies = dict.fromkeys(self.tokenizer.sources, self.tokenizer.directory)
        if (self.base.directory / GENERATION).is_file():
            copies[GENERATION] = self.base.directory
        for name, folder in copies.items():
            (directory / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, directory / name)
        return Checkpoint.open(directory)

    def _write_weights(self, directory: Path, size: int) -> None:
        held: dict[str, list[str]] = defaultdict(list)
        tensors = self.base.weights.tensors
        for name in self._sources:
            held[tensors.get(name, tensors[EMBEDDING]).file].append(name)
        with ExitStack() as files, progress.step("Merging", size, "bytes") as advance:
            for file, names in held.items():
                shapes = [(name, self._dtype(name), _shape(self._sources[name])) for name in names]
                written = files.enter_context(TensorFile(directory / file, shapes))
                for name in names:
                    for first, piece in self._merged(name):
                        written.write(name, first, piece)
                        advance(piece.nbytes)
        if len(held) > 1:
            index = {"metadata": {"total_size": size}, "weight_map": {n: f for f in held for n in held[f]}}
            (directory / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")

    def _dtype(self, name: str) -> str:
        tensors = self.base.weights.tensors
        return tensors.get(name, tensors[EMBEDDING]).dtype

    def _merged(self, name: str) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        source = self._sources[name]
        deltas = [each.delta(name) for each in source.adapters]
        dtype = ALL_DTYPES[self._dtype(name)]
        for first, piece in source.weights.pieces(source.name):
            if not deltas and piece.dtype == dtype:
                yield first, piece
                continue
            numbers = piece.astype(np.float32)
            with np.errstate(over="ignore", invalid="ignore"):  # looked for below
                for delta in deltas:
                    numbers = delta.added(first, numbers)
                rounded = numbers.astype(dtype)
            if not np.isfinite(rounded).all():
                raise CheckpointError(
                    f"{name} with its adapter holds NaN or infinity (largest {np.abs(numbers).max():.3g}, to "
                    f"be stored as {self._dtype(name)}); the training diverged: go back to an earlier save, "
                    "or take a base in bfloat16."
                )
            yield first, rounded


def merge(base: Path, adapters: Sequence[Path], output: Path) -> str:
    """Write the checkpoint `output`, whole or not at all, and say what was done.

    Raises CheckpointError for what does not fit together, BuildError when `output` exists.
    """
    if output.exists():
        raise BuildError(f"{output} exists already; name a folder that does not, or remove it.")
    merged = Merge.open(base, adapters)
    destination = Destination(output)
    with destination.locked(), destination.workplace() as work:
        checkpoint = merged.write(work / "checkpoint")
        destination.put(checkpoint.directory)
    count = sum(len(each.deltas) + len(each.replaced) for each in merged.adapters)
    return f"{output} is ready: {checkpoint.size / 1e6:,.0f} MB, {count} tensors changed."


def _put_in(each: Adapter, sources: dict[str, _Source], tied: bool) -> bool:
    """Add an adapter to the sources; whether output layer and embedding are still one tensor.

    Where they are one in the base and training adapted either, they differ from then on, although merging
    with peft would change both (huggingface/peft issue 2777).
    """
    for name in each.replaced.keys() - each.apart:
        _replace(each, name, EMBEDDING if tied and name == LM_HEAD else name, sources)
    ends = {EMBEDDING, LM_HEAD} & (each.apart | each.deltas.keys())
    if tied and ends and not each.keeps_tied:
        shared = sources[EMBEDDING]
        sources[LM_HEAD] = _Source(shared.weights, shared.name, list(shared.adapters))
        tied = False
    if tied and ends == {LM_HEAD}:
        raise CheckpointError(
            f"{each.directory / adapter.CONFIG} has ensure_weight_tying, but {adapter.WEIGHTS} adapts the "
            "output layer alone, which shares the embedding; merge it with peft itself."
        )
    for name in sorted(each.apart):
        if not (tied and name == LM_HEAD):
            _replace(each, name, name, sources)
    for name, module in each.deltas.items():
        if tied and name == LM_HEAD:
            continue
        source = sources.get(name)
        if source is None:
            raise _unknown(each, module)
        if each.delta_shape(name) != _shape(source):
            raise CheckpointError(
                f"{each.directory / adapter.WEIGHTS} adapts {module} as {list(each.delta_shape(name))}, and "
                f"in the base it is {list(_shape(source))}; it was trained on another model{_trained(each)}."
            )
        source.adapters.append(each)
    return tied


def _replace(each: Adapter, name: str, target: str, sources: dict[str, _Source]) -> None:
    if target not in sources:
        raise _unknown(each, each.replaced[name])
    sources[target] = _Source(each.weights, each.replaced[name], [])


def _unknown(each: Adapter, what: str) -> CheckpointError:
    return CheckpointError(
        f"{each.directory / adapter.WEIGHTS} has {what}, and the base has nothing that it belongs to; it was "
        f"trained on another model{_trained(each)}, or is of a kind that only peft can merge: "
        "PeftModel.merge_and_unload(), then save_pretrained."
    )


def _trained(each: Adapter) -> str:
    return f" ({each.base_name})" if each.base_name else ""


def _called(directory: Path, name: str) -> bool:
    """Whether the folder has the model's name: its own, or one around it, as in the cache of the hub."""
    last = name.rstrip("/").rpartition("/")[2].lower()
    return any(part.lower().rpartition("--")[2] == last for part in directory.resolve().parts)


def _check_shapes(model: Architecture, sources: Mapping[str, _Source]) -> None:
    for name, shape in model.tensors().items():
        found = _shape(sources[name])
        if found != shape:
            raise CheckpointError(
                f"{sources[name].weights.directory}: {sources[name].name} has shape {list(found)}, but "
                f"{list(shape)} is wanted beside the rest; base and adapter are of different models, or the "
                "adapter was saved without all that was resized (save_embedding_layers=True)."
            )


def _shape(source: _Source) -> tuple[int, ...]:
    return source.weights.tensors[source.name].shape
