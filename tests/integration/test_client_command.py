"""`python -m client` as a user runs it: against the real gateway, and against servers that misbehave."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT
from support.scripted_server import DONE, content, finish, scripted, thought, usage
from support.servers import free_port, running

FRANCE = "What is the capital of France?"
PROMPT = "\x1b[?2004h"  # prompt_toolkit starts to edit a line (bracketed paste mode)


@pytest.fixture(scope="module")
def gateway(engine_dir: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "slipway", "gateway", "--engine", str(engine_dir), "--port", str(port)]
    with running(command, f"{url}/health/ready"):
        yield url


def client(*arguments: str, url: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "client", *arguments, "--url", url],
        cwd=ROOT,
        env=os.environ | env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def hello(body: dict[str, Any]) -> tuple[int, Iterator[str]]:
    return 200, iter([content("안녕"), content("하세요"), finish("stop"), usage(5, 2), DONE])


def slow(body: dict[str, Any]) -> tuple[int, Iterator[str]]:
    def pieces() -> Iterator[str]:
        for number in range(1000):
            yield content(f"w{number} ")
            time.sleep(0.02)

    return 200, pieces()


def thoughtful(body: dict[str, Any]) -> tuple[int, Iterator[str]]:
    thoughts = [thought("Let me "), thought("think :sparkles:.", "reasoning")]
    return 200, iter([*thoughts, content("It is "), content("Paris."), finish("stop"), usage(5, 9), DONE])


def test_one_answer_is_streamed_as_pure_text(gateway: str):
    done = client(FRANCE, "--temperature", "0", "--max-tokens", "32", url=gateway)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert done.stdout.endswith("\n")
    assert "\x1b" not in done.stdout
    assert "tokens/s" in done.stderr
    assert "first token after" in done.stderr


def test_thoughts_are_shown_and_do_not_go_into_the_pipe():
    with scripted(thoughtful) as (url, _):
        done = client(FRANCE, url=url)
    assert done.stdout == "It is Paris.\n"
    thoughts, summary = done.stderr.splitlines()
    assert thoughts == "Let me think :sparkles:."
    assert summary.startswith("9 tokens · ")


def test_the_question_can_come_from_a_pipe(gateway: str):
    options = ("--temperature", "0", "--max-tokens", "32")
    dash = client("-", *options, url=gateway, stdin=FRANCE)
    bare = client(*options, url=gateway, stdin=FRANCE)
    assert "Paris" in dash.stdout
    assert bare.stdout == dash.stdout


def test_a_proxy_is_for_other_machines():
    with scripted(hello) as (url, _):
        for address in (url, url.replace("127.0.0.1", "localhost")):
            assert client("Hi", url=address, http_proxy="http://127.0.0.1:9").stdout == "안녕하세요\n"
    assert "No server answers" in client("Hi", url="http://192.0.2.1", http_proxy="http://127.0.0.1:9").stderr


@pytest.mark.parametrize("name", ["openai_stream.py", "openai_candidates.py", "curl.sh"])
def test_the_examples_run(gateway: str, engine_dir: Path, name: str):
    program = "sh" if name.endswith(".sh") else sys.executable
    env = {**os.environ, "OPENAI_BASE_URL": f"{gateway}/v1", "MODEL": engine_dir.name}
    command = [program, f"client/examples/{name}"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    match name:
        case "openai_stream.py":
            assert "Paris" in done.stdout
        case "openai_candidates.py":
            assert all(f"[{index}] " in done.stdout for index in range(4))
        case "curl.sh":
            assert done.stdout.rstrip().endswith("data: [DONE]")


def test_an_unknown_model_is_reported_in_the_words_of_the_server(gateway: str):
    done = client(FRANCE, "--model", "gpt-5", url=gateway)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("The server answers 404:")
    assert "gpt-5" in done.stderr


def test_every_option_reaches_the_server():
    options = ("--temperature", "0.5", "--max-tokens", "7", "--seed", "3", "--stop", "END", "--stop", "\n\n")
    with scripted(hello) as (url, received):
        done = client("hi", "--system", "Be kind.", *options, url=url)
    assert done.stdout == "안녕하세요\n"
    [body] = received
    assert body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "hi"},
    ]
    assert body["model"] == "scripted"
    assert body["stop"] == ["END", "\n\n"]
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.5, 7, 3)


def test_what_the_user_does_not_set_is_left_to_the_server():
    with scripted(hello) as (url, received):
        client("hi", url=url)
    assert set(received[0]) == {"model", "messages", "stream", "stream_options", "temperature"}
    assert received[0]["temperature"] == 0, "a first answer should be the model's best"


@pytest.mark.parametrize(
    ("status", "pieces", "sentence"),
    [
        (400, ['{"error": {"message": "The prompt is too long."}}'], "answers 400: The prompt is too long."),
        (502, ["<html>Bad gateway</html>"], "answers 502: not an OpenAI-compatible answer; is --url right?"),
        (200, [content("a")], "closed the connection before the answer was complete"),
        (
            200,
            ['data: {"error": {"message": "The engine died."}}\n\n'],
            "stopped the answer: The engine died.",
        ),
    ],
)
def test_a_failure_is_one_sentence(status: int, pieces: list[str], sentence: str):
    with scripted(lambda _: (status, iter(pieces))) as (url, _):
        done = client("hi", url=url)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1:1", "No server answers at http://127.0.0.1:1: start one with `make serve`"),
        ("127.0.0.1", "--url 127.0.0.1 is not an address like http://127.0.0.1:9000"),
    ],
)
def test_a_wrong_address_is_one_sentence(url: str, sentence: str):
    done = client("hi", url=url)
    assert done.returncode == 1
    assert sentence in done.stderr


@pytest.mark.parametrize("columns", ["40", "200"])
def test_a_wrong_option_is_one_line_in_a_terminal_of_any_width(columns: str):
    done = client("hi", "--max-tokens", "none", url="http://127.0.0.1:1", COLUMNS=columns)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("Invalid value for '--max-tokens': ")


class Terminal:
    """`python -m client` on a pseudo-terminal, as a person has it."""

    def __init__(self, url: str, *question: str) -> None:
        self.master, slave = pty.openpty()
        command = [sys.executable, "-m", "client", *question, "--url", url]
        env = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, text: str) -> None:
        """Read until `text` has come since the last wait."""
        deadline = time.monotonic() + 60
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {text!r} within 60 s after {self.seen!r}"
            self.seen += os.read(self.master, 4096).decode(errors="ignore")
        self.seen = self.seen.partition(text)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def test_a_chat_remembers_until_it_is_reset():
    with scripted(hello) as (url, received):
        terminal = Terminal(url)
        try:
            terminal.wait_for("/help for commands")
            terminal.type("first\r")
            terminal.wait_for("first token after")
            terminal.type("/system Be brief.\r")
            terminal.wait_for("starts again")
            terminal.type("second\r")
            terminal.wait_for("first token after")
            terminal.type("third\r")
            terminal.wait_for("first token after")
            terminal.type("/reset\r")
            terminal.wait_for("starts again")
            terminal.type("fourth\r")
            terminal.wait_for("first token after")
            terminal.type("/exit\r")
            assert terminal.process.wait(10) == 0
        finally:
            terminal.close()
    system = {"role": "system", "content": "Be brief."}
    answer = {"role": "assistant", "content": "안녕하세요"}
    asked = [{"role": "user", "content": text} for text in ("first", "second", "third", "fourth")]
    assert [body["messages"] for body in received] == [
        [asked[0]],
        [system, asked[1]],
        [system, asked[1], answer, asked[2]],
        [system, asked[3]],
    ]


def test_a_chat_dims_thoughts_and_leaves_them_out_of_the_conversation():
    with scripted(thoughtful) as (url, received):
        terminal = Terminal(url)
        try:
            terminal.wait_for("Ctrl-C stops the answer")
            terminal.type("first\r")
            terminal.wait_for("\x1b[2mLet me \x1b[0m\x1b[2mthink :sparkles:.\x1b[0m")
            terminal.wait_for("\r\nIt is Paris.")
            terminal.wait_for("first word after")
            terminal.type("second\r")
            terminal.wait_for("first word after")
        finally:
            terminal.close()
    assert received[1]["messages"][1] == {"role": "assistant", "content": "It is Paris."}


def test_a_terminal_shows_how_to_stop_until_the_first_token_comes():
    def late(body: dict[str, Any]) -> tuple[int, Iterator[str]]:
        time.sleep(0.5)
        return hello(body)

    with scripted(late) as (url, _):
        terminal = Terminal(url, "Hi")
        try:
            terminal.wait_for("Ctrl-C stops the answer")
            terminal.wait_for("안녕")
            terminal.wait_for("하세요\r\n")
            terminal.wait_for("first token after")
            assert terminal.process.wait(10) == 0
        finally:
            terminal.close()


def test_ctrl_c_stops_the_answer_and_not_the_chat():
    with scripted(slow) as (url, received):
        terminal = Terminal(url)
        try:
            terminal.wait_for("/help for commands")
            terminal.type("go on\r")
            terminal.wait_for("w10 ")
            terminal.process.send_signal(signal.SIGINT)
            terminal.wait_for("stopped by you")
            terminal.type("and now\r")
            terminal.wait_for("w10 ")
            assert {"left": True} in received, "the first answer's connection is closed"
            terminal.process.send_signal(signal.SIGINT)
            terminal.wait_for("stopped by you")
            terminal.wait_for(PROMPT)
            terminal.type("\x04")
            assert terminal.process.wait(10) == 0
        finally:
            terminal.close()
    [_, second] = [body for body in received if "messages" in body]
    assert second["messages"][1]["role"] == "assistant"
    assert second["messages"][1]["content"].startswith("w0 w1 w2 ")


def test_a_failed_message_does_not_stay_in_the_conversation():
    script = iter([(400, iter([json.dumps({"error": {"message": "Too long."}})])), hello({})])
    with scripted(lambda _: next(script)) as (url, received):
        terminal = Terminal(url)
        try:
            terminal.wait_for("/help for commands")
            terminal.type("refused\r")
            terminal.wait_for("Too long.")
            terminal.type("accepted\r")
            terminal.wait_for("first token after")
        finally:
            terminal.close()
    assert received[1]["messages"] == [{"role": "user", "content": "accepted"}]
