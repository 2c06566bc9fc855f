"""One server under supervision: its start, its signs of life, its restarts."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slipway.contract.errors import ServerFailed
from slipway.runtime.restarts import Restarts
from slipway.serve.child import Child
from slipway.serve.interruption import Interruption
from slipway.serve.local_http import why_not_ready
from slipway.serve.tritonserver import CommandLine
from slipway.serve.watch import Watch

# Triton notices neither that a stage's process never began nor that it died. A stage that Triton unloads is
# gone sooner.
_DEAD_FOR_S = 0.5
_LOOK_EVERY_S = 0.5
# For a stage that does not answer. What Triton says itself may wait in a queue behind running answers.
_STILL_S = 3.0


@dataclass(frozen=True)
class Program:
    """A server, and what is expected of it.

    ready_url: answers 200 when it serves. ready_s: seconds until then.
    ask: raises when it shows no sign of life. silent_s: seconds without one that mean that it hangs.
    grace_s: seconds that it has to end when asked to.
    log: where its output goes; None leaves it on the terminal.
    confirm: called when it serves; raises ServerFailed if that is not enough.
    drain: called before it is asked to end; lets its running requests end.
    clean: called when its processes are gone.
    """

    name: str
    start: CommandLine
    directory: Path
    ready_url: str
    ready_s: float
    ask: Callable[[], None]
    silent_s: float
    grace_s: float
    log: Path | None = None
    confirm: Callable[[], None] = lambda: None
    drain: Callable[[Interruption], None] = lambda _: None
    clean: Callable[[], None] = lambda: None


class Part:
    """A program that runs, or waits to be started again. `start` comes first."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.served = False  # at least once
        self._restarts = Restarts()
        self._child: Child | None = None
        self._watch: Watch | None = None
        self._since = 0.0  # when it was started, then when it served; when it is to be started, without child
        self._looked_at = 0.0
        self._dead_since: dict[int, float] = {}

    def start(self) -> None:
        """Start the process."""
        program = self.program
        self._child = Child(program.name, program.start, program.directory, program.log)
        self._since = time.monotonic()
        self._dead_since = {}

    def wait_step(self) -> str | None:
        """While it starts: None when it serves, else why it does not yet, or nothing.

        Raises ServerFailed when it ended, waits for a dead stage, or is late.
        """
        assert self._child is not None
        self._check_processes(self._child)
        reason = why_not_ready(self.program.ready_url)
        if reason is None:
            self.program.confirm()
            self._watch = Watch(self.program.ask, self.program.silent_s)
            self._since, self.served = time.monotonic(), True
            return None
        if time.monotonic() - self._since > self.program.ready_s:
            raise self._child.failure(
                f"{self.program.name} is not ready after {self.program.ready_s:.0f} s; if it only needs "
                "longer, give it more with --ready-timeout SECONDS"
            )
        return reason

    def tick(self) -> bool:
        """Take the next step, a few times a second; whether it has just begun to serve.

        Raises ServerFailed when it works no more.
        """
        if self._child is None:
            if time.monotonic() >= self._since:
                self.start()
            return False
        if self._watch is None:
            return self.wait_step() is None
        self._check_processes(self._child)
        if self._watch.trouble is not None:
            raise ServerFailed(f"{self.program.name} works no more: {self._watch.trouble}")
        return False

    def restart_after(self, failure: ServerFailed) -> float:
        """Kill what is left of it; the seconds until `tick` starts it again.

        Raises the failure when it never served, or failed too often.
        """
        worked_s = time.monotonic() - self._since if self._watch is not None else 0.0
        self.kill()
        pause = self._restarts.pause(worked_s)
        if not self.served or self._restarts.too_many:
            raise failure
        self._since = time.monotonic() + pause
        return pause

    def kill(self) -> None:
        """End it at once."""
        self._forget_watch()
        if self._child is not None:
            self._child.kill()
            self._child = None
            self.program.clean()

    def end(self, interruption: Interruption) -> None:
        """Drain it, ask it to stop, and wait."""
        serving = self._watch is not None
        self._forget_watch()
        if self._child is not None:
            if serving:
                self.program.drain(interruption)
            self._child.end(self.program.grace_s, interruption)
            self._child = None
            self.program.clean()

    def _forget_watch(self) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _check_processes(self, child: Child) -> None:
        child.check()
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        seen = child.look_at_stages(may_have_changed=self._watch is None)
        if self._watch is not None and self._watch.in_doubt and seen.still_s >= _STILL_S:
            raise ServerFailed(
                f"The process of a Python stage has stood still for {seen.still_s:.0f} s and does not answer."
            )
        self._dead_since = {pid: self._dead_since.get(pid, now) for pid in seen.dead}
        if any(now - since >= _DEAD_FOR_S for since in self._dead_since.values()):
            if self._watch is None:
                raise child.failure(
                    "The process of a Python stage ended before it began, and Triton waits for it"
                )
            raise ServerFailed("The process of a Python stage ended by itself, and Triton does not start it.")
