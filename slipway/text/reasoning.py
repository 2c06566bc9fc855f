"""What a model thinks in tags before it answers, told apart from the answer; run by `text.answer_parser`."""

from slipway.text.parts import AnswerReasoning, AnswerText, Part, merged

OPEN, CLOSE = "<think>", "</think>"


def thinks(template: str) -> bool:
    """Whether a chat template is one of a model that thinks in tags."""
    return CLOSE in template


class ReasoningSplitter:
    """One per answer.

    What stands between the tags is reasoning, if the answer begins with the first tag, or the prompt ends
    with it (templates of DeepSeek-R1 and QwQ open it themselves); a tag further on is text. Line breaks
    behind a tag are no part of either. The parts joined do not depend on the pieces.
    """

    def __init__(self, prompt: str) -> None:
        """prompt: what the model was given."""
        self._inside = prompt.rstrip().endswith(OPEN)
        self._at_start = True  # an opening tag may still come
        self._after_tag = False
        self._held = ""

    def push(self, text: str) -> list[Part]:
        """What `text` adds; may be nothing yet."""
        return merged(self._read(text, end=False))

    def flush(self) -> list[Part]:
        """What was held back, when the answer ends."""
        return merged(self._read("", end=True))

    def _read(self, text: str, end: bool) -> list[Part]:
        pending, self._held = self._held + text, ""
        if self._at_start:
            begun = pending.lstrip()
            if not end and len(begun) < len(OPEN) and OPEN.startswith(begun):
                self._held = pending
                return []
            self._at_start = False
            if begun.startswith(OPEN):
                pending, self._inside, self._after_tag = begun[len(OPEN) :], True, True
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
