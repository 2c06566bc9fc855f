"""What a tool-call parser is: the text of an answer, as it streams, told apart into text and calls.

One small file per model family says how a call is written there; `text.answer_parser` runs the one that
`choice.choose` picked. What all have in common is here:

- Whatever the breaks between the pieces, the parts joined are the same.
- AnswerText that is no call comes out unchanged, held back only while it could still become one.
- A call is told when its name and the brace of its arguments are there; from then on its arguments come as
  they are written, and joined they are a JSON object. Arguments that stand before the name wait for it.
- What breaks off, or calls a tool that was not offered, comes out as the text that it was, unless the call
  was told already: then what was told of it stays.
- Blanks between calls and behind the last one are the format's, no text.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection

from slipway.text.parts import AnswerText, CallArguments, CallStart, Part, merged
from slipway.text.tool_calls.scanning import (
    BLANK,
    JsonObject,
    NoCall,
    Reading,
    expect,
    identifier,
    one_of,
    skip_blanks,
)

_ARGUMENTS = frozenset({"arguments", "parameters"})
# Some models add these, to no effect.
_KEYS = _ARGUMENTS | {"name", "id", "type"}


class ToolCallParser(ABC):
    """One per answer.

    begins: the characters that a call can begin with. between: what may stand between two calls, beside
    blanks. closers: how a call, or a list of them, ends; an answer that is cut there shows nothing of it.
    """

    begins: str
    between: str = ""
    closers: tuple[str, ...] = ()

    def __init__(self, names: Collection[str]) -> None:
        """names: of the tools that were offered."""
        self._names = frozenset(names)
        self._parts: list[Part] = []
        self._call: Reading[None] | None = None
        self._held: list[str] = []  # characters of what may be a call, since a part was told
        self._told = 0
        self._passed = 0  # of the calls that were told, those whose arguments are complete
        self._unfinished = False  # a call was told and has not ended
        self._gap: str | None = None  # what stands behind a call so far; None where text may stand

    def push(self, text: str) -> list[Part]:
        """What `text` adds to the answer; may be nothing yet."""
        at = 0
        while at < len(text):
            if self._call is None:
                at = self._outside(text, at)
            elif self._inside(text[at]):
                at += 1
        return self._take()

    def flush(self) -> list[Part]:
        """What was held back, when the answer ends."""
        held, self._call = self._let_go(), None
        closes = self._gap is not None and any(
            closer.startswith(held.strip(BLANK)) for closer in ("", *self.closers)
        )
        if not closes and not self._unfinished:
            self._give_back(held)
        self._gap = None
        return self._take()

    @property
    def complete(self) -> bool:
        """Whether the arguments of every call that was told so far are complete."""
        return self._passed == self._told

    @staticmethod
    @abstractmethod
    def written(name: str, arguments: str) -> str:
        """A call as the model writes it. arguments: a JSON object."""

    @abstractmethod
    def _read(self, first: str) -> Reading[None]:
        """Read one call, or one list of calls, that begins with `first`, of `begins`."""

    def _object(self, first: str) -> Reading[None]:
        """A call as a JSON object: the tool's name, and the arguments under either of their usual keys."""
        expect(first, "{")
        missing = _KEYS
        name, early = "", ""
        while True:
            expect((yield from skip_blanks()), '"')
            key, _ = yield from one_of(missing, '"')
            missing -= _ARGUMENTS if key in _ARGUMENTS else {key}
            expect((yield from skip_blanks()), ":")
            first = yield from skip_blanks()
            if key in _ARGUMENTS:
                early = yield from self._arguments(first, name)
            else:
                expect(first, '"')
                if key == "name":
                    name, _ = yield from one_of(self._names, '"')
                elif key == "type":
                    yield from one_of({"function"}, '"')
                else:
                    yield from identifier('"')
            if key == "name" and early:
                self._begin(name)
                self._tell(CallArguments(self._told - 1, early))
                self._passed += 1
            if expect((yield from skip_blanks()), ",}") == "}":
                break
        if "name" in missing or missing & _ARGUMENTS:
            raise NoCall
        self._end()

    def _array(self) -> Reading[None]:
        """The calls of a JSON array, whose bracket was read."""
        while True:
            yield from self._object((yield from skip_blanks()))
            if expect((yield from skip_blanks()), ",]") == "]":
                break
        self._end()

    def _arguments(self, first: str, name: str) -> Reading[str]:
        """The arguments, told as they come if the name is known; returned if it is not."""
        expect(first, "{")
        if name:
            self._begin(name)
        scanned, early, char = JsonObject(), [], first
        while True:
            text = scanned.push(char)
            if name:
                self._tell(CallArguments(self._told - 1, text))
            else:
                early.append(text)
            if scanned.complete:
                self._passed += bool(name)
                return "".join(early)
            char = yield

    def _begin(self, name: str) -> None:
        self._tell(CallStart(self._told, name))
        self._told += 1
        self._unfinished = True

    def _tell(self, part: Part) -> None:
        self._parts.append(part)
        self._held, self._gap = [], None

    def _end(self) -> None:
        """What was read since the last part was told belongs to a call that is complete."""
        self._held, self._gap, self._unfinished = [], "", False

    def _outside(self, text: str, at: int) -> int:
        """Read on to where a call could begin; returns how far."""
        if self._gap is not None and text[at] in BLANK + self.between:
            self._gap += text[at]
            return at + 1
        if text[at] in self.begins:
            self._held, self._call = [text[at]], self._read(text[at])
            next(self._call)
            return at + 1
        end = min((found for char in self.begins if (found := text.find(char, at)) >= 0), default=len(text))
        self._give_back(text[at:end])
        return end

    def _inside(self, char: str) -> bool:
        """Read on in what may be a call; False if `char` is not part of it and is to be read again."""
        assert self._call is not None
        self._held.append(char)
        try:
            self._call.send(char)
        except StopIteration:
            self._call, self._gap = None, self._gap or ""
        except NoCall:
            self._call, self._unfinished = None, False
            self._held.pop()
            self._give_back(self._let_go())
            return False
        return True

    def _let_go(self) -> str:
        held, self._held = "".join(self._held), []
        return held

    def _give_back(self, text: str) -> None:
        text = (self._gap or "") + text
        if text:
            self._parts.append(AnswerText(text))
        self._gap = None

    def _take(self) -> list[Part]:
        parts, self._parts = merged(self._parts), []
        return parts
