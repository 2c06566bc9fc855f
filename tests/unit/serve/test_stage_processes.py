"""Stages of Triton that ended without Triton's noticing, among real processes."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slipway.serve.stage_processes import StageProcesses

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")


@contextmanager
def parent(tmp_path: Path, name: str) -> Iterator[tuple["subprocess.Popen[bytes]", Callable[[], int]]]:
    """A process of this name, and a function that lets it start a child; it never waits for one."""
    program = tmp_path / name
    program.symlink_to(str(shutil.which("sh")))
    script = "while read line; do sleep 60 & echo $!; done"
    with subprocess.Popen(
        [program, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
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


def test_a_stage_that_ended_is_found_without_looking_at_all_processes_again(tmp_path: Path) -> None:
    with parent(tmp_path, "tritonserver") as (server, start_child):
        first, second = start_child(), start_child()
        stages = StageProcesses(server.pid)
        assert stages.dead(may_have_changed=True) == set()
        end(second)
        assert stages.dead(may_have_changed=False) == {second}
        end(first)
        assert stages.dead(may_have_changed=False) == {first, second}


def test_a_stage_that_came_later_is_found_when_one_may_have_come(tmp_path: Path) -> None:
    with parent(tmp_path, "tritonserver") as (server, start_child):
        stages = StageProcesses(server.pid)
        assert stages.dead(may_have_changed=True) == set()
        end(later := start_child())
        assert stages.dead(may_have_changed=True) == {later}


def test_what_other_servers_leave_is_no_stage(tmp_path: Path) -> None:
    with parent(tmp_path, "gateway") as (server, start_child):
        end(start_child())
        assert StageProcesses(server.pid).dead(may_have_changed=True) == set()
