"""A child process with a log: its output is read line by line, and it never outlives the build."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slipway.contract.errors import BuildError

_LOG_TAIL = 15
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PREFIX = re.compile(r"^(?:\[[^\]]*\]\s*)+")  # time and level of a log line


@dataclass(frozen=True, slots=True)
class Cause:
    """A known reason to fail. pattern: regular expression for a line of the log.

    sentence: what it means and what to do; {line} is replaced by the line, without time and level.
    """

    pattern: str
    sentence: str


# Those of any program, for which a caller knows none that is more exact.
_CAUSES = (
    Cause(
        r"No space left on device|Disk quota exceeded|File too large",
        "The disk is full ({line}); make room there, or take a folder on another disk.",
    ),
    Cause(r"Input/output error", "The disk may be failing ({line}); take a folder on another disk."),
    Cause(
        r"MemoryError|std::bad_alloc|Cannot allocate memory",
        "Memory ran out ({line}); end other programs, add swap, or give the container more.",
    ),
)


def run(
    name: str,
    command: Sequence[str],
    log: Path,
    on_line: Callable[[bytes], None],
    directory: Path | None = None,
    causes: Sequence[Cause] = (),
) -> None:
    """Run `command` without network access to a model hub, and write its output to `log`.

    on_line: called with every line. causes: the first one found in the log explains a failure; a full disk
    and a lack of memory are known for any program.
    Raises BuildError when it fails. Its whole process group is killed at the end, also after Ctrl-C.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        ) as process,
    ):
        assert process.stdout is not None
        # A grandchild that keeps the pipe open would delay the end of the output for ever.
        threading.Thread(target=_end_group_after, args=(process,), daemon=True).start()
        try:
            for line in process.stdout:
                sink.write(line)
                sink.flush()
                on_line(line)
            process.wait()
        finally:
            _end_group(process)
    if process.returncode != 0:
        raise BuildError(_explain(name, process.returncode, log, causes))


def _explain(name: str, status: int, log: Path, causes: Sequence[Cause]) -> str:
    """One sentence for a known cause, else the exit status and the end of the log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    for cause in (*causes, *_CAUSES):
        for line in lines:
            if re.search(cause.pattern, line):
                quoted = _PREFIX.sub("", line.strip()).rstrip(".")
                return f"{cause.sentence.format(line=quoted)} Its whole log: {log}"
    if status == -signal.SIGKILL:
        return (
            f"{name} was killed, as the system does when memory runs out; free memory, add swap, or give the "
            f"container more. Its whole log: {log}"
        )
    ended = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    tail = "\n".join(lines[-_LOG_TAIL:])
    return f"{name} ended with {ended}; its last lines (whole log: {log}):\n{tail}"


def _end_group_after(process: "subprocess.Popen[bytes]") -> None:
    process.wait()
    _end_group(process)


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _end_with_parent() -> None:
    """Runs in the child: when the build itself is killed, Linux ends the child too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
