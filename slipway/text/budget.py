"""Limits for the time and memory of one chat template."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import jinja2

# CPU time of the thread, so that a busy machine refuses no request. A long conversation takes milliseconds.
MAX_SECONDS = 2.0
# All text made on the way to a prompt: a few times the length of the messages.
MAX_CHARACTERS = 64_000_000
_MAX_WIDTH = 10_000
_MAX_BITS = 4096
_PER_ITEM = 8
_PER_STRING = 64
_MAX_ITEMS = 1_000_000
_WIDTH_IN_FORMAT = re.compile(r"\d{5}|\*|\{[^}]*\{")
_NUMBER = re.compile(r"\d+", re.ASCII)
T = TypeVar("T")


class OverLimit(jinja2.TemplateRuntimeError):
    """A template takes too much time or memory."""


class _Budget:
    def __init__(self) -> None:
        self._until = time.thread_time() + MAX_SECONDS
        self._characters = MAX_CHARACTERS

    def spend(self, characters: int) -> None:
        self._characters -= characters
        if self._characters < 0:
            raise _too_much()
        if time.thread_time() > self._until:
            raise OverLimit(f"it takes more than {MAX_SECONDS:g} s")


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def bounded() -> Iterator[None]:
    """Compile or render within one budget; past it all functions below raise OverLimit."""
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


def spend(characters: int = 0) -> None:
    """Take characters from the budget, and check the time."""
    budget = _budget.get()
    if budget is not None:
        budget.spend(characters)


def spend_size(value: T) -> T:
    """Take the size of `value` from the budget and return it. Items of a list were counted when made."""
    if isinstance(value, str | bytes):
        spend(len(value))
    elif isinstance(value, list | tuple | dict | set):
        spend(_PER_ITEM * len(value))
    elif isinstance(value, int):
        _check_bits(value.bit_length())
    else:
        spend()
    return value


def spend_text(value: Any) -> Any:
    """Take the length of the text of `value` from the budget and return `value`."""
    spend(weight(value))
    return value


def weight(value: Any) -> int:
    """Roughly how many characters `value` has as text.

    A list that holds another twice counts it twice, as its text would.
    """
    if isinstance(value, str):
        return len(value)
    total, items, waiting = 0, 0, [value]
    while waiting:
        each = waiting.pop()
        items += 1
        if items > _MAX_ITEMS:
            raise _too_much()
        total += len(each) if isinstance(each, str) else _PER_ITEM
        if isinstance(each, Mapping):
            waiting += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            waiting += each
    return total


def check_size(characters: int) -> None:
    """Refuse a size that no budget allows, before the value is made. Once made, it is counted."""
    if characters > MAX_CHARACTERS:
        raise _too_much()


def check_width(width: Any) -> None:
    """Refuse to pad to a great width."""
    if isinstance(width, int) and abs(width) > _MAX_WIDTH:
        raise OverLimit(f"it asks for a width of {width}, and at most {_MAX_WIDTH} is allowed")


def check_fill(value: Any, fillings: list[Any]) -> None:
    """Refuse to pad or wrap each line of a text with long fillings."""
    lines = len(value) if isinstance(value, str) else 1
    for filling in fillings:
        check_width(filling)
        check_size(lines * (len(filling) if isinstance(filling, str) else 1))
        if isinstance(filling, int) and isinstance(value, str):
            check_size((value.count("\n") + 1) * filling)


def check_json(value: Any, form: list[Any]) -> None:
    """Refuse JSON with a great indentation or long separators."""
    size = weight(value)
    for part in form:
        check_width(part)
        if isinstance(part, int):
            check_size(size * part)
        elif isinstance(part, tuple | list):
            check_size(size * weight(part))
    check_size(size)


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Refuse a product, a power or a format of great size."""
    if operator == "%" and isinstance(left, str):
        check_format(left, right)
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * abs(right))
    elif operator == "*":
        for one, other in ((left, right), (right, left)):
            if isinstance(one, int) and isinstance(other, int):
                _check_bits(one.bit_length() + other.bit_length())
            elif isinstance(one, int) and hasattr(other, "__len__"):
                check_size(max(one, 0) * len(other) * (1 if isinstance(other, str) else _PER_ITEM))


def check_format(text: str, *values: Any) -> None:
    """Refuse a format that pads, or that repeats a long value."""
    shown = text.count("%") + text.count("{")
    if shown > _MAX_WIDTH:
        raise _too_much()
    if shown and _WIDTH_IN_FORMAT.search(text):
        raise OverLimit("it formats with a computed width")
    widest = max(map(int, _NUMBER.findall(text)), default=0) if shown else 0
    check_size(len(text) + shown * (widest + weight(values)))


def check_replace(text: str, old: Any, new: Any) -> None:
    """Refuse to replace many short parts with a long one."""
    check_size(len(text) + (text.count(str(old)) if old else len(text) + 1) * len(str(new)))


def check_join(separator: Any, items: list[Any]) -> None:
    """Refuse to join to a great length."""
    check_size(weight(items) + len(items) * weight(separator))


def check_cut(text: str, pieces: int) -> None:
    """Refuse to cut a text into many strings: each takes more memory than its characters."""
    check_size(len(text) + _PER_STRING * pieces)


def check_sum(items: list[Any], start: Any) -> None:
    """Refuse to add up many lists, which copies the growing sum for each."""
    if isinstance(start, list | tuple):
        check_size(weight(items) * len(items))


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise OverLimit(f"it makes a number of more than {_MAX_BITS} bits")


def _too_much() -> OverLimit:
    return OverLimit(f"it makes more than {MAX_CHARACTERS} characters")
