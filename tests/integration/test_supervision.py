"""Servers that die again and again, hang, or never start, under the supervision of `slipway serve`."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from support.servers import free_port

from slipway.contract.errors import ServerFailed
from slipway.runtime import restarts
from slipway.serve.local_http import ask
from slipway.serve.part import Program
from slipway.serve.supervision import supervise
from slipway.serve.tritonserver import CommandLine

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            print("no such device", flush=True)
            os._exit(3)
        if self.path == "/hang":
            os.kill(os.getpid(), 19)
        self.send_response(200)
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def program(log: Path, path: str, silent_s: float = 30.0, script: str = SERVER) -> Program:
    """A server that is asked for `path` as a sign of life."""
    url = f"http://127.0.0.1:{(port := free_port())}"

    def asked() -> None:
        ask("GET", f"{url}{path}")

    return Program(
        name="Server",
        start=CommandLine([sys.executable, "-c", script, str(port)], {}),
        directory=Path.cwd(),
        log=log,
        ready_url=url,
        ready_s=30.0,
        ask=asked,
        silent_s=silent_s,
        grace_s=5.0,
    )


def test_a_server_that_dies_again_and_again_ends_the_command_with_its_last_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(restarts, "MAX_DEATHS", 1)
    with pytest.raises(ServerFailed, match=r"Server ended by itself \(exit status 3\)(.|\n)*no such device"):
        supervise([program(tmp_path / "log", "/die")], Console(stderr=True), lambda: None)
    printed = capsys.readouterr().err
    assert "Server is started again now." in printed
    assert "Server serves again." in printed


def test_a_server_that_hangs_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(restarts, "MAX_DEATHS", 1)
    with pytest.raises(ServerFailed, match="Server works no more: It has not answered for"):
        supervise([program(tmp_path / "log", "/hang", silent_s=1.0)], Console(stderr=True), lambda: None)
    assert "Server serves again." in capsys.readouterr().err


def test_a_server_that_never_starts_is_not_tried_again(tmp_path: Path) -> None:
    broken = program(tmp_path / "log", "/", script="print('no such device'); raise SystemExit(3)")
    with pytest.raises(ServerFailed, match=r"exit status 3\)(.|\n)*no such device"):
        supervise([broken], Console(stderr=True), lambda: None)
