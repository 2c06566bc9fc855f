"""A base checkpoint with its LoRA adapters, merged into one checkpoint.

The weights are read once, in pieces of 1 MiB or a row: memory depends on the adapter, not on the model.
The sum is made in fp32 and rounded once, to the base's dtype.
"""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
from build.checkpoint.checkpoint import Checkpoint
from build.checkpoint.ends import GENERATION
from build.checkpoint.tensor_file import TensorFile
from build.checkpoint.tokenizer_files import DEFINITION, TokenizerFiles
from build.checkpoint.weights import ALL_DTYPES, INDEX, Weights
from build.destination import Destination, check_disk_space
from slipway.contract.errors import BuildError, CheckpointError
from slipway.contract.manifest import FileDigest


@dataclass(slots=True)
class _Source:
    """The parts of a merged tensor: an existing tensor, and the adapters that change it, in this order."""

    weights: Weights
    name: str
    adapters: list[Adapter]


@dataclass(frozen=True, slots=True)
class Merge:
    """A base and adapters that fit together; the numbers are not read yet."""

    base: Checkpoint
    adapters: tuple[Adapter, ...]
    architecture: Architecture
    tokenizer: TokenizerFiles
    _sources: Mapping[str, _Source]

    @classmethod
    def open(cls, base: Path, adapters: Sequence[Path]) -> Self:
        """Open the base and the adapters, which are merged in the given order. Raises CheckpointError."""
        checkpoint = Checkpoint.open(base)
        opened = tuple(Adapter.open(directory) for directory in adapters)
        tied = checkpoint.architecture.tied
        sources = {
            name: _Source(checkpoint.weights, name, [])
            for name in checkpoint.weights.tensors
            if not (tied and name == LM_HEAD)  # a copy of the embedding
        }
        for each in opened:
            tied = _add(each, sources, tied)
        rows = _shape(sources[EMBEDDING])[0]
        model = replace(checkpoint.architecture, vocab_size=rows, tied=tied)
        _check_shapes(model, sources)
        # The tokens that training added are in the tokenizer beside the adapter.
        with_tokenizer = [each.directory for each in opened if (each.directory / DEFINITION).is_file()]
        tokenizer = TokenizerFiles.read(with_tokenizer[-1]) if with_tokenizer else checkpoint.tokenizer
        if tokenizer.largest_id >= rows:
            raise CheckpointError(
                f"The tokenizer in {tokenizer.directory} has ids up to {tokenizer.largest_id} "
                f"({tokenizer.largest_token!r}), but the embedding has {rows} rows; the trained embedding is "
                "missing: save the adapter with save_embedding_layers=True."
            )
        return cls(checkpoint, opened, model, tokenizer, sources)

    @property
    def directory(self) -> Path:
        """The folder whose config files count."""
        return self.base.directory

    def digests(self) -> dict[str, FileDigest]:
        """Size and SHA-256 of every file that is read, by name; an adapter's files by its position."""
        found = self.base.digests()
        for index, each in enumerate(self.adapters):
            tokenizer = self.tokenizer.sources if self.tokenizer.directory == each.directory else ()
            for name in (adapter.CONFIG, *each.weights.files, *tokenizer):
                found[f"adapters/{index}/{name}"] = FileDigest.of(each.directory / name)
        return found

    def write(self, directory: Path) -> Checkpoint:
        """Write the folder `directory`, as save_pretrained of the merged model would.

        Raises CheckpointError when a number is not finite, BuildError when the disk is too full.
        """
        size = sum(
            prod(_shape(source)) * np.dtype(ALL_DTYPES[self._dtype(name)]).itemsize
            for name, source in self._sources.items()
        )
        check_disk_space(directory, size, "merged checkpoint")
        for each in self.adapters:
            if each.base_name and not _is_named(self.base.directory, each.base_name):
                progress.say(
                    f"Note: {each.directory} was trained on {each.base_name}, and no file says that "
                    f"{self.base.directory} is this model. Merged into another model of the same shape, its "
                    "answers are wrong."
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
        in_file: dict[str, list[str]] = defaultdict(list)
        tensors = self.base.weights.tensors
        for name in self._sources:
            in_file[tensors.get(name, tensors[EMBEDDING]).file].append(name)
        with progress.step("Merging", size, "bytes") as advance:
            for file, names in in_file.items():
                shapes = [(name, self._dtype(name), _shape(self._sources[name])) for name in names]
                with TensorFile(directory / file, shapes) as written:
                    for name in names:
                        for first, piece in self._merged(name):
                            written.write(name, first, piece)
                            advance(piece.nbytes)
        if len(in_file) > 1:
            files = {name: file for file, names in in_file.items() for name in names}
            index = {"metadata": {"total_size": size}, "weight_map": files}
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
            with np.errstate(over="ignore", invalid="ignore"):  # checked below
                for delta in deltas:
                    numbers = delta.apply(first, numbers)
                rounded = numbers.astype(dtype)
            if not np.isfinite(rounded).all():
                raise CheckpointError(
                    f"{name} with its adapter holds NaN or infinity (largest {np.abs(numbers).max():.3g}, to "
                    f"be stored as {self._dtype(name)}); the training diverged: go back to an earlier save, "
                    "or take a base in bfloat16."
                )
            yield first, rounded


def merge(base: Path, adapters: Sequence[Path], output: Path) -> str:
    """Write the checkpoint `output`, whole or not at all; returns a message for the user.

    Raises CheckpointError when base and adapters do not fit together, BuildError when `output` exists.
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


def _add(each: Adapter, sources: dict[str, _Source], tied: bool) -> bool:
    """Add an adapter to the sources; returns whether output layer and embedding are still one tensor.

    When they are one in the base and training adapted one of them, they differ afterwards, although merging
    with peft would change both (huggingface/peft issue 2777).
    """
    for name in each.replaced.keys() - each.copies:
        _replace(each, name, EMBEDDING if tied and name == LM_HEAD else name, sources)
    ends = {EMBEDDING, LM_HEAD} & (each.copies | each.deltas.keys())
    if tied and ends and not each.keeps_tied:
        shared = sources[EMBEDDING]
        sources[LM_HEAD] = _Source(shared.weights, shared.name, list(shared.adapters))
        tied = False
    if tied and ends == {LM_HEAD}:
        raise CheckpointError(
            f"{each.directory / adapter.CONFIG} has ensure_weight_tying, but {adapter.WEIGHTS} adapts the "
            "output layer alone, which is the embedding; merge it with peft itself."
        )
    for name in sorted(each.copies):
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
                f"in the base it is {list(_shape(source))}; it was trained on another model{_base_of(each)}."
            )
        source.adapters.append(each)
    return tied


def _replace(each: Adapter, name: str, target: str, sources: dict[str, _Source]) -> None:
    if target not in sources:
        raise _unknown(each, each.replaced[name])
    sources[target] = _Source(each.weights, each.replaced[name], [])


def _unknown(each: Adapter, what: str) -> CheckpointError:
    return CheckpointError(
        f"{each.directory / adapter.WEIGHTS} has {what}, and the base has no tensor for it; it was trained "
        f"on another model{_base_of(each)}, or is of a kind that only peft can merge: "
        "PeftModel.merge_and_unload(), then save_pretrained."
    )


def _base_of(each: Adapter) -> str:
    return f" ({each.base_name})" if each.base_name else ""


def _is_named(directory: Path, name: str) -> bool:
    """Whether the folder, or one above it as in the cache of the hub, has the model's name."""
    last = name.rstrip("/").rpartition("/")[2].lower()
    return any(part.lower().rpartition("--")[2] == last for part in directory.resolve().parts)


def _check_shapes(model: Architecture, sources: Mapping[str, _Source]) -> None:
    for name, shape in model.tensors().items():
        found = _shape(sources[name])
        if found != shape:
            raise CheckpointError(
                f"{sources[name].weights.directory}: {sources[name].name} has shape {list(found)}, but "
                f"the other tensors need {list(shape)}; base and adapter are of different models, or the "
                "adapter was saved without its resized layers (save_embedding_layers=True)."
            )


def _shape(source: _Source) -> tuple[int, ...]:
    return source.weights.tensors[source.name].shape
