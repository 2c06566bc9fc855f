"""What a forward pass on the CPU is best given, for `engine`, `perplexity` and the executors."""

import os

import psutil


def physical_cores() -> int:
    """Physical cores this process may use: a second thread per core slows the matrix kernels down."""
    physical = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):
        return min(physical, len(os.sched_getaffinity(0)))
    return physical


def attend_without_flash() -> None:
    """Turn GroupQueryAttention's flash path off for the sessions this process makes from now on.

    It is slower on a CPU (onnxruntime 1.31.1, 9 heads of 64, 2 cores): without it, rows that decode after 100
    to 1,000 tokens attend in half to two thirds of the time, 128 prompt tokens in four fifths.
    """
    os.environ["ORT_GQA_DISABLE_FLASH_ATTENTION"] = "1"
