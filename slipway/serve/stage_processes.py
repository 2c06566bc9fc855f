"""The processes of Triton's Python stages, and those of them that ended."""

import time

import psutil

_TRITON = "tritonserver"
# Stages come and go only when models are loaded. To look for them takes 10 ms and more, so a server that is
# idle would spend a few per cent of a core on it if it looked each time.
_SCAN_EVERY_S = 10.0


class StageProcesses:
    """The children of a Triton, which is the process `server` or below it."""

    def __init__(self, server: int) -> None:
        self._server = psutil.Process(server)
        self._known: list[psutil.Process] = []
        self._scanned_at = float("-inf")

    def dead(self, may_have_changed: bool) -> set[int]:
        """The ids of those that ended and that Triton has not noticed.

        may_have_changed: whether stages may have begun since the last call; if not, it looks for new ones
        every ten seconds.
        """
        if may_have_changed or time.monotonic() - self._scanned_at >= _SCAN_EVERY_S:
            self._known = self._scan()
            self._scanned_at = time.monotonic()
        return {process.pid for process in self._known if _is_zombie(process)}

    def _scan(self) -> list[psutil.Process]:
        try:
            family = [self._server, *self._server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        servers = {process.pid for process in family if _name(process) == _TRITON}
        return [process for process in family if _parent(process) in servers]


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return 0


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
