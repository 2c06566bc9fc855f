"""Stages of Triton that ended without Triton's noticing, among real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.waiting import wait_until

from slipway.serve.stage_processes import StageProcesses

pytestmark = pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="not Linux")

# It never waits for its children, as Triton does not for its stages.
PARENT = """
import subprocess, sys
open("/proc/self/comm", "w").write(sys.argv[1])
children = []
for _ in sys.stdin:
    children.append(subprocess.Popen(["sleep", "60"]))
    print(children[-1].pid, flush=True)
"""


@contextmanager
def parent(name: str) -> Iterator[tuple["subprocess.Popen[bytes]", Callable[[], int]]]:
    """A process of this name, and a function that lets it start a child."""
    command = [sys.executable, "-I", "-S", "-c", PARENT, name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:

        def start_child() -> int:
            assert process.stdin
            assert process.stdout
            process.stdin.write(b"\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        try:
            yield process, start_child
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stage_that_ended_is_found_without_looking_at_all_processes_again() -> None:
    with parent("tritonserver") as (server, start_child):
        first, second = start_child(), start_child()
        stages = StageProcesses(server.pid)
        assert stages.look(may_have_changed=True).dead == set()
        end(second)
        assert stages.look(may_have_changed=False).dead == {second}
        end(first)
        assert stages.look(may_have_changed=False).dead == {first, second}


def test_a_stage_that_came_later_is_found_when_one_may_have_come() -> None:
    with parent("tritonserver") as (server, start_child):
        stages = StageProcesses(server.pid)
        assert stages.look(may_have_changed=True).dead == set()
        end(later := start_child())
        assert stages.look(may_have_changed=True).dead == {later}


def test_what_other_servers_leave_is_no_stage() -> None:
    with parent("gateway") as (server, start_child):
        end(start_child())
        assert StageProcesses(server.pid).look(may_have_changed=True).dead == set()


def test_a_stage_that_does_nothing_is_seen_to_stand_still_and_a_busy_one_is_not() -> None:
    with parent("tritonserver") as (server, start_child):
        child = psutil.Process(start_child())
        stages = StageProcesses(server.pid)
        stages.look(may_have_changed=True)
        wait_until(lambda: stages.look(may_have_changed=False).still_s >= 0.3)  # it sleeps for a minute
        child.suspend()
        child.resume()
        wait_until(lambda: stages.look(may_have_changed=False).still_s < 0.3)
