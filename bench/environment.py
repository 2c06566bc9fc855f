"""The environment of a measurement: machine, versions, command, and the variables that it inherits."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

# The key of the server under test, and the path of the tritonserver binary.
_KEPT = ("SLIPWAY_API_KEY", "SLIPWAY_TRITONSERVER")


def drop_server_settings() -> None:
    """Remove the shell's proxies and its settings for servers (`SLIPWAY_*`) from this process.

    They would change the servers that a measurement starts, and the connection to the server under test.
    """
    for name in set(os.environ) - set(_KEPT):
        if name.startswith("SLIPWAY_") or name.lower().endswith("_proxy"):
            del os.environ[name]


def describe() -> dict[str, object]:
    """The environment of this process, ready for JSON. The server may run on another machine."""
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
