"""How much memory this process may still use; asked by `engine` for its KV cache."""

from pathlib import Path

import psutil

# Where Linux tells a container its limit and its use (control groups, version 2).
_CONTAINER = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Bytes that are free on this machine, or within the limit of this container where that is less."""
    machine: int = psutil.virtual_memory().available
    try:
        limit = (_CONTAINER / "memory.max").read_text(encoding="ascii").strip()
        used = (_CONTAINER / "memory.current").read_text(encoding="ascii")
    except OSError:  # not Linux, or no container
        return machine
    return machine if limit == "max" else min(machine, max(int(limit) - int(used), 0))
