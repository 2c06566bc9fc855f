"""The NVIDIA GPUs of this machine, as nvidia-smi reports them; asked when an engine is built and loaded."""

import os
import subprocess
from dataclasses import dataclass

from slipway.contract.errors import NoGpu

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_FIELDS = "name,memory.total,compute_cap"
_MIB = 1 << 20
# A driver that hangs must not hang a server's start.
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Device:
    """memory: bytes. capability: of compute, as NVIDIA writes it: "8.9"."""

    name: str
    memory: int
    capability: str

    def __str__(self) -> str:
        return f"{self.name} ({self.capability})"


def installed() -> list[Device]:
    """Every GPU that a CUDA program started now may use, at least one (CUDA_VISIBLE_DEVICES counts).

    Raises NoGpu, which says why there is none.
    """
    chosen = os.environ.get(_VISIBLE)
    if chosen is not None and chosen.strip() in ("", "-1"):
        raise NoGpu(f"{_VISIBLE} hides every GPU; unset it.")
    command = ["nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    if chosen is not None:
        command.append(f"--id={chosen}")
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except FileNotFoundError:
        raise NoGpu(
            "There is no NVIDIA GPU or no driver for it: nvidia-smi is not installed; in a container, start "
            "it with GPUs."
        ) from None
    except subprocess.TimeoutExpired:
        raise NoGpu(f"nvidia-smi did not answer within {_TIMEOUT_S} s; the driver hangs.") from None
    devices = [_device(line) for line in asked.stdout.splitlines() if asked.returncode == 0 and line.strip()]
    if not devices:
        said = " ".join((asked.stderr or asked.stdout).split()) or "it lists none"
        raise NoGpu(f"There is no NVIDIA GPU that works: nvidia-smi says: {said.rstrip('.')}.")
    return devices


def _device(line: str) -> Device:
    name, memory, capability = (part.strip() for part in line.rsplit(",", 2))
    return Device(name, int(memory) * _MIB, capability)
