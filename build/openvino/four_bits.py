"""The matrices of a model that an engine stores in 4 bits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from build import progress
from build.checkpoint.checkpoint import Checkpoint
from build.openvino import gate, parts
from build.openvino.gptq import Rounded
from build.openvino.layouts import FourBits


class FourBitMatrices(Mapping[str, dict[str, npt.NDArray[Any]]]):
    """The tensors of each matrix in 4 bits, by suffix, by the matrix's name. They are read from files."""

    def __init__(self, checkpoint: Checkpoint, work: Path) -> None:
        """Round what can be, and decide what stays.

        work: a folder for all matrices that can have 4 bits, until it is known which of them do.
        """
        self._directory = work / "four-bits"
        self._directory.mkdir()
        units = gate.units(checkpoint, self._keep)
        taken = gate.within(units, gate.MAX_LOSS)
        of = {(unit.kind, index) for unit in taken for index in unit.layers}
        self._names = [
            matrix.name
            for index in range(checkpoint.architecture.layers)
            for matrix in parts.layer(checkpoint.architecture, index).matrices
            if (matrix.kind, index) in of
        ]
        share = sum(unit.weights for unit in taken) / max(1, sum(unit.weights for unit in units))
        loss = sum(unit.loss for unit in taken)
        progress.say(
            f"4 bits for {share:.0%} of the layers' weights, which moves predictions by {loss:.3f} nats a "
            f"token; at most {gate.MAX_LOSS} are allowed."
        )

    def __getitem__(self, name: str) -> dict[str, npt.NDArray[Any]]:
        if name not in self._names:
            raise KeyError(name)
        with np.load(self._file(name)) as archive:
            return {key.removeprefix("matrix"): archive[key] for key in archive.files}

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _keep(self, name: str, rounded: Rounded) -> None:
        tensors = FourBits().stored(rounded)
        np.savez(self._file(name), **{f"matrix{suffix}": tensor for suffix, tensor in tensors.items()})

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.npz"
