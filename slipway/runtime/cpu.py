"""Settings of a forward pass on the CPU."""

import os
from pathlib import Path

import psutil


def physical_cores() -> int:
    """Physical cores this process may use: a second thread per core slows the matrix kernels down."""
    physical = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):
        return min(physical, len(os.sched_getaffinity(0)))
    return physical


def disable_flash_attention() -> None:
    """Turn GroupQueryAttention's flash path off for the sessions that this process makes from now on.

    It is slower on a CPU (onnxruntime 1.31.1, 9 heads of 64, 2 cores). Without it, attention over 100 to
    1,000 tokens takes half to two thirds of the time, and a prompt of 128 tokens four fifths.
    """
    os.environ["ORT_GQA_DISABLE_FLASH_ATTENTION"] = "1"


def exact_products() -> dict[str, str]:
    """Configuration entries of a session of onnxruntime that keep 8-bit products exact on this CPU.

    A CPU without VNNI adds pairs of these products in 16 bits, which int8 graphs overflow. The entry makes
    onnxruntime take a slower kernel that is exact. VNNI is detected on Linux only.
    """
    cpu = Path("/proc/cpuinfo")
    has_vnni = cpu.is_file() and "vnni" in cpu.read_text(encoding="utf-8")
    return {} if has_vnni else {"session.x64quantprecision": "1"}
