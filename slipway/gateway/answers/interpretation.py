"""How the text of one answer is read: what the model thinks, says and calls."""

from dataclasses import dataclass, field
from typing import Literal

from slipway.text.answer_parser import AnswerParser
from slipway.text.parts import AnswerText, CallArguments, CallStart, Part

# "tool_calls": it ended by itself, and calls tools.
Finish = Literal["stop", "length", "tool_calls"]


@dataclass(slots=True)
class Interpretation:
    """One per answer.

    interpreter: None where the answer is text only.
    only_calls: the answer consists of calls, so text in it is a call that was cut off.
    one_call: a second call is left out, and ends the generation.
    """

    interpreter: AnswerParser | None = None
    only_calls: bool = False
    one_call: bool = False
    _has_calls: bool = field(default=False, init=False)

    def read(self, text: str, finish: Finish | None) -> tuple[tuple[Part, ...], Finish | None]:
        """What `text` adds to the answer, and why the answer ends with it, if it does.

        An answer that ends by itself and has calls finishes with "tool_calls", unless a stop string or the
        model's own end cut the arguments of a call: they are no JSON.
        """
        if self.interpreter is None:
            return ((AnswerText(text),) if text else ()), finish
        parts = self.interpreter.push(text)
        if finish is not None:
            parts += self.interpreter.flush()
        if self.one_call and any(isinstance(part, CallStart) and part.index for part in parts):
            finish = "tool_calls"
        shown = tuple(part for part in parts if self._is_shown(part))
        self._has_calls = self._has_calls or any(isinstance(part, CallStart) for part in shown)
        if finish == "stop" and self._has_calls and self.interpreter.calls_complete:
            finish = "tool_calls"
        return shown, finish

    @property
    def answer_start(self) -> int | None:
        """How many characters of reasoning and its tags come before the answer; None before it begins."""
        return 0 if self.interpreter is None else self.interpreter.answer_start

    def _is_shown(self, part: Part) -> bool:
        if self.only_calls and isinstance(part, AnswerText):
            return False
        return not (self.one_call and isinstance(part, CallStart | CallArguments) and part.index)
