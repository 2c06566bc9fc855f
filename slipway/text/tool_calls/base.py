"""The base of tool-call parsers, which split a streamed answer into text and calls.

A small module per model family reads that family's format. All parsers share these rules:

- However the text is split, the parts joined are the same.
- Text that is no call is returned unchanged, and held back only while it could still become a call.
- A call is reported when its name and the opening brace of its arguments are read. Its arguments then come as
  they are written; joined they are a JSON object. Arguments that come before the name wait for it.
- A call that breaks off, or that names an unknown tool, is returned as text. Parts already reported stay.
- Blanks between calls and behind the last one belong to the format and are dropped.
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

    begins: the characters that a call can begin with. between: characters allowed between two calls, beside
    blanks. closers: the ends of a call or a list of calls; an answer cut inside one drops it.
    """

    begins: str
    between: str = ""
    closers: tuple[str, ...] = ()

    def __init__(self, names: Collection[str]) -> None:
        """names: of the tools that were offered."""
        self._names = frozenset(names)
        self._parts: list[Part] = []
        self._call: Reading[None] | None = None
        self._held: list[str] = []  # characters of a possible call, since the last reported part
        self._started = 0
        self._passed = 0  # started calls whose arguments are complete
        self._unfinished = False  # a started call has not ended
        self._gap: str | None = None  # the characters behind a call so far; None where text is allowed

    def push(self, text: str) -> list[Part]:
        """What `text` adds to the answer; may be empty."""
        at = 0
        while at < len(text):
            if self._call is None:
                at = self._outside(text, at)
            elif self._inside(text[at]):
                at += 1
        return self._take()

    def flush(self) -> list[Part]:
        """The text held back until the answer ended."""
        held, self._call = self._take_held(), None
        closes = self._gap is not None and any(
            closer.startswith(held.strip(BLANK)) for closer in ("", *self.closers)
        )
        if not closes and not self._unfinished:
            self._give_back(held)
        self._gap = None
        return self._take()

    @property
    def complete(self) -> bool:
        """Whether the arguments of every started call are complete."""
        return self._passed == self._started

    @staticmethod
    @abstractmethod
    def written(name: str, arguments: str) -> str:
        """A call as the model writes it. arguments: a JSON object."""

    @abstractmethod
    def _read(self, first: str) -> Reading[None]:
        """Read one call, or one list of calls, that begins with `first`, one of `begins`."""

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
                self._report(CallArguments(self._started - 1, early))
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
        """Read the arguments: report them as they come if the name is known, else return them."""
        expect(first, "{")
        if name:
            self._begin(name)
        scanned, early, char = JsonObject(), [], first
        while True:
            text = scanned.push(char)
            if not name:
                early.append(text)
            elif text:
                self._report(CallArguments(self._started - 1, text))
            if scanned.complete:
                self._passed += bool(name)
                return "".join(early)
            char = yield

    def _begin(self, name: str) -> None:
        self._report(CallStart(self._started, name))
        self._started += 1
        self._unfinished = True

    def _report(self, part: Part) -> None:
        self._parts.append(part)
        self._held, self._gap = [], None

    def _end(self) -> None:
        """The call is complete, with all characters since the last reported part."""
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
            self._give_back(self._take_held())
            return False
        return True

    def _take_held(self) -> str:
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
