"""How much time and space one chat template may take; kept by `sandbox`, opened by `template`."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import jinja2

# A long conversation takes milliseconds. Of the thread's own time, so that a busy machine refuses nobody.
MAX_SECONDS = 2.0
# All that is made on the way to a prompt, which is some times the length of the messages.
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
    """A template takes too long or makes too much."""


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
    """What is compiled or rendered within has one budget; all functions below raise OverLimit past it."""
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


def spend(characters: int = 0) -> None:
    """Take so many characters from the budget, and look at the time."""
    budget = _budget.get()
    if budget is not None:
        budget.spend(characters)


def counted(value: T) -> T:
    """`value`, whose own size is taken from the budget; of what a list holds, each was counted when made."""
    if isinstance(value, str | bytes):
        spend(len(value))
    elif isinstance(value, list | tuple | dict | set):
        spend(_PER_ITEM * len(value))
    elif isinstance(value, int):
        _check_bits(value.bit_length())
    else:
        spend()
    return value


def spelled_out(value: Any) -> Any:
    """`value`, of which the text is taken from the budget."""
    spend(weight(value))
    return value


def weight(value: Any) -> int:
    """About how many characters `value` has as text.

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


def ask_for(characters: int) -> None:
    """Refuse what no budget could pay, before it is made; it is counted once made."""
    if characters > MAX_CHARACTERS:
        raise _too_much()


def check_width(width: Any) -> None:
    """Refuse to fill up to a great width."""
    if isinstance(width, int) and abs(width) > _MAX_WIDTH:
        raise OverLimit(f"it asks for a width of {width}, and the widest is {_MAX_WIDTH}")


def check_fill(value: Any, fillings: list[Any]) -> None:
    """Refuse to fill each line of a text, or wrap it everywhere, with much."""
    lines = len(value) if isinstance(value, str) else 1
    for filling in fillings:
        check_width(filling)
        ask_for(lines * (len(filling) if isinstance(filling, str) else 1))
        if isinstance(filling, int) and isinstance(value, str):
            ask_for((value.count("\n") + 1) * filling)


def check_json(value: Any, form: list[Any]) -> None:
    """Refuse JSON that is spread out by much."""
    size = weight(value)
    for part in form:
        check_width(part)
        if isinstance(part, int):
            ask_for(size * part)
        elif isinstance(part, tuple | list):
            ask_for(size * weight(part))
    ask_for(size)


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
                ask_for(max(one, 0) * len(other) * (1 if isinstance(other, str) else _PER_ITEM))


def check_format(text: str, *values: Any) -> None:
    """Refuse a format that fills up, or that shows much often."""
    shown = text.count("%") + text.count("{")
    if shown > _MAX_WIDTH:
        raise _too_much()
    if shown and _WIDTH_IN_FORMAT.search(text):
        raise OverLimit("it formats with a width of its own making")
    widest = max(map(int, _NUMBER.findall(text)), default=0) if shown else 0
    ask_for(len(text) + shown * (widest + weight(values)))


def check_replace(text: str, old: Any, new: Any) -> None:
    """Refuse to put much in the place of little, often."""
    ask_for(len(text) + (text.count(str(old)) if old else len(text) + 1) * len(str(new)))


def check_join(separator: Any, items: list[Any]) -> None:
    """Refuse to join much."""
    ask_for(weight(items) + len(items) * weight(separator))


def check_cut(text: str, pieces: int) -> None:
    """Refuse to cut a text into many strings, each of which takes more memory than its characters."""
    ask_for(len(text) + _PER_STRING * pieces)


def check_sum(items: list[Any], start: Any) -> None:
    """Refuse to add up many lists, which copies the first as often as there are more."""
    if isinstance(start, list | tuple):
        ask_for(weight(items) * len(items))


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise OverLimit(f"it makes a number of more than {_MAX_BITS} bits")


def _too_much() -> OverLimit:
    return OverLimit(f"it makes more than {MAX_CHARACTERS} characters")
