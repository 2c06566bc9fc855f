"""Another program at work, its words in a log; used by `genai` and `calibration`."""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from slipway.contract.errors import BuildError

_LOG_TAIL = 15
_KILLED = -9


def run(name: str, command: Sequence[str], log: Path, heard: Callable[[bytes], None]) -> None:
    """Run it offline to its end; `heard` gets every line, and `log`, which is removed when all went well.

    name: what errors call it. Raises BuildError with the end of the log when it fails; whatever happens, it
    is not left running.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                sink.write(line)
                heard(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL:]
        reason = " (killed: out of memory?)" if process.returncode == _KILLED else ""
        raise BuildError(
            f"{name} ended with {process.returncode}{reason}; its last lines (all: {log}):\n"
            + "\n".join(tail)
        )
    log.unlink()
