"""A conversation in the terminal, with history and a few commands; started by `python -m client`."""

import sys

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import HTML
from rich.console import Console

from client.answer import stream_answer
from client.server import Server, ServerError

HELP = """/system TEXT  set the system prompt and start anew (without TEXT: show it)
/reset        forget the conversation, keep the system prompt
/help         these lines
/exit         leave, as Ctrl-D does; Ctrl-C stops the answer that is being written"""


class Chat:
    """One conversation with one server; `messages` is what the model sees."""

    def __init__(self, server: Server, system: str | None, notes: Console) -> None:
        self.server = server
        self.system = system
        self.notes = notes
        self.messages: list[dict[str, str]] = []
        self.reset()

    def run(self) -> None:
        """Read lines and answer them until the user leaves."""
        self.notes.print(
            f"{self.server.model} at {self.server.url} · /help for commands", style="dim", highlight=False
        )
        session: PromptSession[str] = PromptSession(HTML("<b>&gt; </b>"))
        while True:
            try:
                line = session.prompt().strip()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if line in ("/exit", "/quit"):
                return
            if line.startswith("/"):
                self.command(line)
            elif line:
                self.say(line)

    def say(self, text: str) -> None:
        """Send one message and write the answer; one without an answer is taken back."""
        self.messages.append({"role": "user", "content": text})
        try:
            answer = stream_answer(self.server, self.messages, sys.stdout)
        except ServerError as error:
            self.messages.pop()
            self.notes.print(str(error), style="red", markup=False, highlight=False)
            return
        if answer.text:
            self.messages.append({"role": "assistant", "content": answer.text})
        else:
            self.messages.pop()
        self.notes.print(answer.summary(), style="dim", highlight=False)

    def command(self, line: str) -> None:
        """Carry out one /command."""
        name, _, text = line.partition(" ")
        match name:
            case "/system" if text.strip():
                self.system = text.strip()
                self.reset()
                self.note("New system prompt; the conversation starts anew.")
            case "/system":
                self.note(self.system or "No system prompt of yours; the model's own default applies.")
            case "/reset":
                self.reset()
                self.note("The conversation starts anew.")
            case "/help":
                self.note(HELP)
            case _:
                self.note(f"{name} is not a command. The commands:\n{HELP}")

    def reset(self) -> None:
        """Forget everything but the system prompt."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []

    def note(self, text: str) -> None:
        """Say something that is not the model's."""
        self.notes.print(text, style="dim", markup=False, highlight=False)
