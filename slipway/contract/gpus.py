"""The NVIDIA GPUs of this machine, as nvidia-smi reports them."""

import ctypes
import os
import subprocess
from dataclasses import dataclass

from slipway.contract.errors import NoGpu

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_FIELDS = "name,memory.total,compute_cap"
_MIB = 1 << 20
DRIVER_LIBRARY = "libcuda.so.1"
# A driver that hangs must not hang a server's start.
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class InstalledGpu:
    """memory: bytes; None where the GPU shares the machine's memory, and nvidia-smi says [N/A].

    capability: the compute capability as NVIDIA writes it, such as "8.9".
    """

    name: str
    memory: int | None
    capability: str

    def __str__(self) -> str:
        return f"{self.name} ({self.capability})"


def installed() -> list[InstalledGpu]:
    """The GPUs that a CUDA program may use now, at least one; CUDA_VISIBLE_DEVICES can hide some.

    Raises NoGpu, with the reason, if there is none.
    """
    chosen = os.environ.get(_VISIBLE)
    if chosen is not None and chosen.strip() in ("", "-1"):
        raise NoGpu(f"{_VISIBLE} hides every GPU; unset it.")
    command = ["nvidia-smi", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    if chosen is not None:
        command.append(f"--id={chosen}")
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except FileNotFoundError:
        raise NoGpu(
            "There is no NVIDIA GPU or no driver for it: nvidia-smi is not installed; in a container, start "
            "it with GPUs."
        ) from None
    except subprocess.TimeoutExpired:
        raise NoGpu(f"nvidia-smi did not answer within {_TIMEOUT_S} s; the driver hangs.") from None
    gpus = [_parse(line) for line in ran.stdout.splitlines() if ran.returncode == 0 and line.strip()]
    if not gpus:
        output = " ".join((ran.stderr or ran.stdout).split()) or "it lists none"
        raise NoGpu(f"There is no NVIDIA GPU that works: nvidia-smi says: {output.rstrip('.')}.")
    return gpus


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the driver can run, such as (13, 1); None where there is no driver.

    A container may bring a newer driver library for GPUs of data centers (CUDA's forward compatibility), and
    then this is the library's.
    """
    version = ctypes.c_int()
    try:
        failed = ctypes.CDLL(DRIVER_LIBRARY).cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return None
    # CUDA writes 13.1 as 13010 (cuDriverGetVersion in its driver API).
    return None if failed else (version.value // 1000, version.value % 1000 // 10)


def _parse(line: str) -> InstalledGpu:
    name, memory, capability = (part.strip() for part in line.rsplit(",", 2))
    return InstalledGpu(name, int(memory) * _MIB if memory.isdecimal() else None, capability)
