"""Splits the reasoning that a model writes in tags from its answer."""

from slipway.text.parts import AnswerReasoning, AnswerText, Part, merged

OPEN, CLOSE = "<think>", "</think>"


def thinks(template: str) -> bool:
    """Whether a chat template belongs to a model that thinks in tags."""
    return CLOSE in template


class ReasoningSplitter:
    """One per answer.

    The text between the tags is reasoning if the answer begins with the first tag, or the prompt ends with it
    (templates of DeepSeek-R1 and QwQ do that). A later tag is text. Line breaks behind a tag belong to
    neither. The parts joined do not depend on how the text is split.
    """

    def __init__(self, prompt: str) -> None:
        """prompt: the rendered prompt."""
        self._inside = prompt.rstrip().endswith(OPEN)
        self._pushed = 0
        self._answer_start: int | None = None
        self._at_start = True  # an opening tag may still come
        self._after_tag = False
        self._held = ""

    @property
    def inside(self) -> bool:
        """Whether the text so far ends within the reasoning."""
        return self._inside

    @property
    def answer_start(self) -> int | None:
        """How many characters come before the text that is no reasoning; None before there is any."""
        return self._answer_start

    def push(self, text: str) -> list[Part]:
        """What `text` adds; may be empty."""
        self._pushed += len(text)
        return merged(self._read(text, end=False))

    def flush(self) -> list[Part]:
        """The text held back until the answer ended."""
        return merged(self._read("", end=True))

    def _read(self, text: str, end: bool) -> list[Part]:
        pending, self._held = self._held + text, ""
        if self._at_start:
            start = pending.lstrip()
            if not end and len(start) < len(OPEN) and OPEN.startswith(start):
                self._held = pending
                return []
            self._at_start = False
            if start.startswith(OPEN):
                pending, self._inside, self._after_tag = start[len(OPEN) :], True, True
            elif self._inside:
                self._after_tag = True
        parts: list[Part] = []
        if self._inside:
            thought, tag, pending = pending.partition(CLOSE)
            thought = self._stripped(thought)
            if not tag:
                keep = 0 if end else _overlap(thought)
                thought, self._held = thought[: len(thought) - keep], thought[len(thought) - keep :]
            else:
                self._inside, self._after_tag = False, True
            if thought:
                parts.append(AnswerReasoning(thought))
        if pending and (pending := self._stripped(pending)):
            if self._answer_start is None:
                self._answer_start = self._pushed - len(pending)
            parts.append(AnswerText(pending))
        return parts

    def _stripped(self, text: str) -> str:
        """`text` without the line breaks behind a tag."""
        if self._after_tag:
            text = text.lstrip("\n")
            self._after_tag = not text
        return text


def _overlap(text: str) -> int:
    """Length of the longest end of `text` that begins the closing tag."""
    return next((n for n in range(min(len(text), len(CLOSE) - 1), 0, -1) if CLOSE.startswith(text[-n:])), 0)
