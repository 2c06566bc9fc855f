"""Where a run is made: what it inherits, and what its report says of machine, versions and command."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

# For `run`, and for finding the binary.
_KEPT = ("SLIPWAY_API_KEY", "SLIPWAY_TRITONSERVER")


def shed() -> None:
    """Forget the proxies of this shell, and what it sets for servers of its own.

    So both reach neither the servers that a measurement starts nor the way to the one that it asks.
    """
    for name in set(os.environ) - set(_KEPT):
        if name.startswith("SLIPWAY_") or name.lower().endswith("_proxy"):
            del os.environ[name]


def describe() -> dict[str, object]:
    """The environment of this process, JSON-ready. The server may run on another machine."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["python", "-m", "bench", *sys.argv[1:]],
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "locust": metadata.version("locust"),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
