import socket
from pathlib import Path

from support.command import called
from typer.main import get_command

from slipway.__main__ import app
from slipway.gateway.options import arguments
from slipway.serve.options import ServeOptions


def test_the_doctor_says_what_is_wrong_and_what_is_right(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = called(app, "doctor", "--model-repository", str(tmp_path), "--port", port)
    assert done.exit_code == 1
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert f"{tmp_path} holds no models; run `make engine` first." in problems[0]
    assert f"cannot listen on port {port}" in problems[1]
    assert len(problems) == 2
    assert done.stdout.startswith("ok       Python: 3.1")


def test_serve_takes_the_options_of_the_gateway_and_passes_them_on() -> None:
    options = ServeOptions(port=9001, access_log=True, cors_origin=["http://a", "null"], timeout=5.0)
    given = arguments(options)
    assert {"--port=9001", "--access-log", "--timeout=5.0", "--max-queue=128"} <= set(given)
    assert [word for word in given if "cors" in word] == ["--cors-origin=http://a", "--cors-origin=null"]
    assert not {"--insecure", "--keys=None"} & set(given)
    command = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    assert "--max-queue" in {option for parameter in command.params for option in parameter.opts}
