"""What a server holds for its clients: slots of the engine, open files, memory."""

import time
from dataclasses import dataclass

from bench.faults.target import Target

_SETTLE_S = 40.0
# Files that a server opens once, for what no client asked before.
_SPARE_HANDLES = 8
_SPARE_MEMORY = 100_000_000


@dataclass(frozen=True, slots=True)
class Held:
    """slots: answers that run or wait. handles, memory: open files and bytes of the process that listens."""

    process: int
    slots: int
    handles: int
    memory: int

    @classmethod
    def by(cls, target: Target) -> "Held":
        """What it holds now."""
        slots = sum(target.metric(f"slipway_{what}_requests") for what in ("running", "waiting", "queued"))
        process = target.process()
        return cls(process.pid, int(slots), process.num_fds(), process.memory_info().rss)

    def after(self, target: Target) -> "Held":
        """What it holds when it has nothing left to give back, or after 40 seconds."""
        deadline = time.monotonic() + _SETTLE_S
        while (now := Held.by(target)).leaks(self) and time.monotonic() < deadline:
            time.sleep(0.5)
        return now

    def leaks(self, before: "Held") -> list[str]:
        """What it holds beyond what it held before."""
        found = [f"{self.slots} slots held"] if self.slots else []
        if self.process == before.process:
            if self.handles > before.handles + _SPARE_HANDLES:
                found.append(f"{self.handles - before.handles} handles leaked")
            if self.memory > before.memory + _SPARE_MEMORY:
                found.append(f"{(self.memory - before.memory) / 1e6:.0f} MB kept")
        return found
