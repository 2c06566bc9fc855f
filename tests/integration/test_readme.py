"""Every command of the README, as it stands there, and the programs of the guide for clients."""

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.paths import ROOT
from support.servers import running, stop, wait_until_ready

README = (ROOT / "README.md").read_text()
CALL = (ROOT / "docs" / "guides" / "call.md").read_text()
SERVERS = {
    "make serve": "http://127.0.0.1:9000/health/ready",
    ".venv/bin/slipway gateway --engine engines/smollm2-135m-int4 --port 9001": (
        "http://127.0.0.1:9001/health/ready"
    ),
}
THIS_RUN = "make test"


def _blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [
    command
    for block in _blocks("sh")
    for command in block.replace("\\\n", "").splitlines()
    if command.strip()
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`make serve`, started as a person does; yields what it printed."""
    log = tmp_path_factory.mktemp("serve") / "output"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["make", "serve"], cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
        try:
            wait_until_ready(process, SERVERS["make serve"], timeout=180)
            yield log
        finally:
            stop(process)


def _run(command: str) -> str:
    finished = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_the_readme_names_the_commands_this_test_knows_how_to_start() -> None:
    assert {*SERVERS, THIS_RUN} <= set(COMMANDS)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in {*SERVERS, THIS_RUN}])
def test_a_command_of_the_readme_works(command: str, served: Path) -> None:
    output = _run(command)
    if "capital of France" in command:
        assert "Paris" in output


@pytest.mark.parametrize("program", [*_blocks("python"), *_blocks("python", CALL)])
def test_a_program_of_the_docs_works(program: str, served: Path) -> None:
    assert "Paris" in _run(shlex.join([".venv/bin/python", "-c", program]))


def test_serve_prints_a_line_that_works_when_pasted(served: Path) -> None:
    line = next(line for line in served.read_text().splitlines() if "curl " in line)
    assert '"choices"' in _run(line.strip())


def test_the_gateway_of_the_readme_answers_without_triton() -> None:
    command = next(command for command in SERVERS if "gateway" in command)
    with running(shlex.split(command), SERVERS[command]):
        _run(f"curl -sf {SERVERS[command]}")


def test_ctrl_c_ends_all_that_make_serve_started(served: Path) -> None:
    make = next(p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["make", "serve"])
    children = make.children(recursive=True)
    assert any("tritonserver" in child.name() for child in children)
    os.killpg(make.pid, signal.SIGINT)
    _, alive = psutil.wait_procs([make, *children], timeout=60)
    assert not alive


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert (ROOT / target).is_file(), target
