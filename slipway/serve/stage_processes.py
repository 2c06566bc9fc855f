"""The processes of Triton's Python stages: those that ended, and those that stand still."""

import time
from dataclasses import dataclass

import psutil

_TRITON = "tritonserver"
# Stages come and go only when models are loaded. To look for them takes 10 ms and more, so a server that is
# idle would spend a few per cent of a core on it if it looked each time.
_SCAN_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """dead: ids of the stages that ended and that Triton has not noticed.

    still_s: seconds since the stage that has done nothing for longest did something.
    """

    dead: frozenset[int]
    still_s: float


class StageProcesses:
    """The children of a Triton, which is the process `server` or below it."""

    def __init__(self, server: int) -> None:
        self._server = psutil.Process(server)
        self._known: list[_Stage] = []
        self._scanned_at = float("-inf")

    def look(self, may_have_changed: bool) -> Look:
        """Look at them, often enough to tell how long one stands still.

        may_have_changed: whether stages may have begun since the last look; if not, it looks for new ones
        every ten seconds.
        """
        now = time.monotonic()
        if may_have_changed or now - self._scanned_at >= _SCAN_EVERY_S:
            known = {each.process: each for each in self._known}
            self._known = [known.get(process) or _Stage(process, now) for process in self._scan()]
            self._scanned_at = now
        dead = frozenset(each.process.pid for each in self._known if each.look(now))
        return Look(dead, max((now - each.active_at for each in self._known), default=0.0))

    def _scan(self) -> list[psutil.Process]:
        try:
            family = [self._server, *self._server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        servers = {process.pid for process in family if _name(process) == _TRITON}
        return [process for process in family if _parent(process) in servers]


class _Stage:
    """active_at: when it was last seen to have done something."""

    def __init__(self, process: psutil.Process, now: float) -> None:
        self.process = process
        self.active_at = now
        self._done: object = None

    def look(self, now: float) -> bool:
        """Whether it ended. A thread of Triton's stub wakes three times a second, also when it idles.

        One that the machine lets wait for a core is not still.
        """
        try:
            with self.process.oneshot():
                status = self.process.status()
                done = self.process.num_ctx_switches(), self.process.cpu_times()
        except psutil.NoSuchProcess:
            self.active_at = now  # Triton has noticed that it ended, or unloaded it
            return False
        if done != self._done or status in (psutil.STATUS_RUNNING, psutil.STATUS_ZOMBIE):
            self._done, self.active_at = done, now
        return bool(status == psutil.STATUS_ZOMBIE)


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
