"""Reads a call one character at a time, with generators that get each character by `send`."""

from collections.abc import Collection, Generator
from typing import TypeVar

T = TypeVar("T")
Reading = Generator[None, str, T]

BLANK = " \t\r\n"
# More than any call needs; JSON parsers of clients have limits too, Python's is about 1,000.
_MAX_DEPTH = 200
_DIGITS = dict.fromkeys("0123456789", "")
# What may follow in a number (RFC 8259, section 6): state and character to state.
_NUMBER: dict[str, dict[str, str]] = {
    "sign": {**dict.fromkeys("123456789", "whole"), "0": "zero"},
    "zero": {".": "point", "e": "e", "E": "e"},
    "whole": {**dict.fromkeys(_DIGITS, "whole"), ".": "point", "e": "e", "E": "e"},
    "point": dict.fromkeys(_DIGITS, "fraction"),
    "fraction": {**dict.fromkeys(_DIGITS, "fraction"), "e": "e", "E": "e"},
    "e": {**dict.fromkeys(_DIGITS, "exponent"), "+": "exponent sign", "-": "exponent sign"},
    "exponent sign": dict.fromkeys(_DIGITS, "exponent"),
    "exponent": dict.fromkeys(_DIGITS, "exponent"),
}
_NUMBER_ENDS = {"zero", "whole", "fraction", "exponent"}
_WORDS = {"t": "rue", "f": "alse", "n": "ull"}
_ESCAPES = frozenset('"\\/bfnrt')
_HEX = frozenset("0123456789abcdefABCDEF")
_UNICODE_LENGTH = len("\\u0000")
_CONTROL = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class NoCall(Exception):
    """The last character cannot be part of a call."""


def expect(char: str, allowed: str) -> str:
    """`char`, if it is one of `allowed`."""
    if char not in allowed:
        raise NoCall
    return char


def literal(text: str) -> Reading[None]:
    """Exactly `text`."""
    for char in text:
        expect((yield), char)


def skip_blanks() -> Reading[str]:
    """Blanks; returns what follows them."""
    while (char := (yield)) in BLANK:
        pass
    return char


def one_of(options: Collection[str], ends: str, read: str = "") -> Reading[tuple[str, str]]:
    """One of `options`, and the character of `ends` after it. read: the part already read.

    Fails at the first character that leaves no option.
    """
    while True:
        char = yield
        if char in ends:
            if read not in options:
                raise NoCall
            return read, char
        read += char
        if not any(option.startswith(read) for option in options):
            raise NoCall


def identifier(ends: str) -> Reading[str]:
    """The id of a call, which is dropped; returns the character of `ends` after it."""
    while (char := (yield)) not in ends:
        if not (char.isalnum() or char in "_-"):
            raise NoCall
    return char


class JsonObject:
    """Follows one JSON object; the texts that `push` returns, joined, parse as JSON."""

    def __init__(self) -> None:
        self.complete = False
        self._brackets: list[str] = []
        self._state = "value"
        self._is_key = False
        self._rest = ""  # of a word
        self._escape = ""  # held back from its backslash on, until it is known whether JSON has it

    def push(self, char: str) -> str:
        """The text for one more character: itself, or what JSON requires in its place; may be empty.

        Small models write line breaks into strings unescaped, and escapes that JSON does not have.
        Raises NoCall.
        """
        match self._state:
            case "string":
                return self._in_string(char)
            case "escape":
                return self._in_escape(char)
            case "word":
                expect(char, self._rest[0])
                self._rest = self._rest[1:]
                self._state = "word" if self._rest else "after"
            case state if state in _NUMBER:
                following = _NUMBER[state].get(char)
                if following is None and state not in _NUMBER_ENDS:
                    raise NoCall
                self._state = following or "after"
                if following is None:
                    self._between(char)
            case _:
                self._between(char)
        return char

    def _in_string(self, char: str) -> str:
        if char == '"':
            self._state = "colon" if self._is_key else "after"
        elif char == "\\":
            self._state, self._escape = "escape", char
            return ""
        elif char < " ":
            return _CONTROL.get(char, f"\\u{ord(char):04x}")
        return char

    def _in_escape(self, char: str) -> str:
        """A backslash that begins no escape of JSON's stands for itself, as that of a pattern does."""
        escape, self._escape = self._escape + char, ""
        if escape == "\\u" or (escape.startswith("\\u") and char in _HEX and len(escape) < _UNICODE_LENGTH):
            self._escape = escape
            return ""
        self._state = "string"
        if len(escape) == _UNICODE_LENGTH and char in _HEX:
            return escape
        if len(escape) == 2 and char in _ESCAPES:
            return escape
        if escape == "\\'":
            return "'"
        return "\\" + escape[:-1] + self._in_string(char)

    def _between(self, char: str) -> None:
        """Punctuation, blanks, and what begins a value."""
        if char in BLANK:
            return
        match self._state:
            case "value":
                self._begin(char)
            case "first value" if char != "]":
                self._begin(char)
            case "first key" | "key" if char == '"':
                self._state, self._is_key = "string", True
            case "colon" if char == ":":
                self._state = "value"
            case "after" if char == ",":
                self._state = "key" if self._brackets[-1] == "}" else "value"
            case "first value" | "first key" | "after" if char == self._brackets[-1]:
                self._brackets.pop()
                self._state = "after"
                self.complete = not self._brackets
            case _:
                raise NoCall

    def _begin(self, char: str) -> None:
        if char in "{[":
            if len(self._brackets) == _MAX_DEPTH:
                raise NoCall
            self._brackets.append("}" if char == "{" else "]")
            self._state = "first key" if char == "{" else "first value"
        elif not self._brackets:
            raise NoCall
        elif char == '"':
            self._state, self._is_key = "string", False
        elif char in _WORDS:
            self._state, self._rest = "word", _WORDS[char]
        elif char == "-":
            self._state = "sign"
        else:
            self._state = _NUMBER["sign"].get(char) or _no_call()


def _no_call() -> str:
    raise NoCall
