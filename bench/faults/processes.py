"""The processes of a server, found by what they run."""

from collections.abc import Callable

import psutil

from slipway.contract.errors import SlipwayError

Find = Callable[[psutil.Process], psutil.Process]


class NoSuchPart(SlipwayError):
    """The server has no such process, or several."""


def engine_worker(server: psutil.Process) -> psutil.Process:
    """The engine's own process, below the gateway or below Triton's stage."""
    return _one(server, "the engine worker", lambda words: "slipway.runtime.worker" in words)


def triton(server: psutil.Process) -> psutil.Process:
    """The tritonserver."""
    return _one(server, "tritonserver", lambda words: words[0].endswith("/tritonserver"))


def gateway(server: psutil.Process) -> psutil.Process:
    """The gateway below `slipway serve`."""
    return _one(server, "the gateway", lambda words: words[1:4] == ["-m", "slipway", "gateway"])


def stub(stage: str) -> Find:
    """Triton's Python process of a stage such as `NAME.engine`."""

    def find(server: psutil.Process) -> psutil.Process:
        return _one(
            server,
            f"the stub of {stage}",
            lambda words: words[0].endswith("python_backend_stub") and f"{stage}_0_0" in words,
        )

    return find


def _one(server: psutil.Process, name: str, fits: Callable[[list[str]], bool]) -> psutil.Process:
    found = []
    for process in server.children(recursive=True):
        try:
            words = process.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if words and fits(words):
            found.append(process)
    if len(found) != 1:
        raise NoSuchPart(f"Process {server.pid} has {len(found)} processes that are {name}.")
    return found[0]
