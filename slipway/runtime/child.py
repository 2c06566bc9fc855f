"""A module of Slipway as a child process, which ends when its pipes close."""

import subprocess
import sys


def start_child(module: str, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start `python -m module` with pipes for its input and output. Raises OSError.

    Not with multiprocessing: its helper processes do not run in Triton's stub, where Python is embedded.
    """
    if sys.platform == "win32":
        group = subprocess.CREATE_NEW_PROCESS_GROUP
    else:
        group = 0
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C reaches every process of the terminal, but the parent decides when this one ends.
        start_new_session=True,
        creationflags=group,
    )
