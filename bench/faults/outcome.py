"""What came of one fault, as a row of the table."""

from dataclasses import dataclass

from bench.faults.held import Held

HEADER = """\
| server | fault | clients saw | answers again | slots | handles | memory |
|---|---|---|---|---|---|---|"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """saw: what clients noticed. recovery_s: until answers flowed again; None where they never stopped.

    broken: what must not be, whatever the machine does besides: lost or cut answers, errors of the server.
    """

    saw: str
    broken: tuple[str, ...] = ()
    recovery_s: float | None = None

    def row(self, server: str, fault: str, before: Held, after: Held) -> str:
        """A row of the table under HEADER."""
        recovery = "" if self.recovery_s is None else f"{self.recovery_s:.1f} s"
        handles, memory = "new process", "new process"
        if after.process == before.process:
            handles = f"{after.handles - before.handles:+d}"
            memory = f"{(after.memory - before.memory) / 1e6:+.0f} MB"
        columns = [f"`{server}`", fault, self.saw, recovery, str(after.slots), handles, memory]
        return f"| {' | '.join(columns)} |"
