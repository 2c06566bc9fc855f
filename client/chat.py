"""A chat in the terminal, with history and a few commands."""

import sys

from prompt_toolkit import PromptSession
from prompt_toolkit.formatted_text import HTML
from rich.console import Console

from client.answer import stream_answer
from client.endpoint import Endpoint, ServerError
from client.printer import STOP_HINT

HELP = """/system TEXT  set the system prompt and start again (without TEXT: show it)
/reset        forget the conversation, keep the system prompt
/help         show these lines
/exit         end the chat, like Ctrl-D; Ctrl-C stops a running answer"""


class ChatSession:
    """One conversation with one model. `messages`: the conversation as it is sent."""

    def __init__(self, endpoint: Endpoint, system: str | None, notes: Console) -> None:
        self.endpoint = endpoint
        self.system = system
        self.notes = notes
        self.messages: list[dict[str, str]] = []
        self.reset()

    def run(self) -> None:
        """Read and answer lines until the user ends the chat."""
        self.notes.print(
            f"{self.endpoint.model} at {self.endpoint.url} · {STOP_HINT} · /help for commands",
            style="dim",
            highlight=False,
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
        """Send one message and print the answer. A message without an answer leaves the conversation."""
        self.messages.append({"role": "user", "content": text})
        try:
            answer = stream_answer(self.endpoint, self.messages, sys.stdout, self.notes)
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
        """Run one /command."""
        name, _, text = line.partition(" ")
        match name:
            case "/system" if text.strip():
                self.system = text.strip()
                self.reset()
                self.note("New system prompt: the conversation starts again.")
            case "/system":
                self.note(self.system or "You have set no system prompt; the model's default applies.")
            case "/reset":
                self.reset()
                self.note("The conversation starts again.")
            case "/help":
                self.note(HELP)
            case _:
                self.note(f"{name} is not a command. The commands:\n{HELP}")

    def reset(self) -> None:
        """Clear the conversation, but keep the system prompt."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []

    def note(self, text: str) -> None:
        """Print a line of the program."""
        self.notes.print(text, style="dim", markup=False, highlight=False)
