"""Where a run was made: machine, versions, command; written into every result by `bench.report`."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


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
