"""One command from start to disk: `python -m bench.timed COMMAND ...` prints its seconds and its peak memory.

Called by `bench.conversion`. A process of its own and small: a child counts what its parent had resident
when it was started. One JSON object on stdout: {"status": exit status, "seconds": s, "peak_bytes": n}.
"""

import json
import os
import resource
import subprocess
import sys
import time


def main(command: list[str]) -> None:
    """Run it with its output on stderr; the time ends when all that it wrote is on the disk."""
    started = time.monotonic()
    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    os.sync()
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"status": status, "seconds": seconds, "peak_bytes": peak}))


if __name__ == "__main__":
    main(sys.argv[1:])
