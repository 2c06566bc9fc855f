"""A Jinja sandbox for untrusted chat templates: the names of transformers, and limits on time and memory.

Templates come with checkpoints, from unknown authors. Jinja's own sandbox keeps a template away from Python's
internals, but lets it loop for hours and fill the memory. Here every loop and call checks the time, text and
lists are counted, and operators, filters and methods that can make large values check the size first.

A step that Python does without any check is not interrupted: the comparison or the hash of values that
contain themselves many times (`[x, x]` in a loop), or a regular expression of a filter on a long text.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from slipway.text.budget import (
    check_cut,
    check_fill,
    check_format,
    check_join,
    check_json,
    check_operator,
    check_replace,
    check_size,
    check_sum,
    check_width,
    spend,
    spend_size,
    spend_text,
    weight,
)

_WIDTHS = frozenset({"batch", "center", "indent", "round", "slice", "truncate", "wordwrap"})
_LIST_FILTERS = (
    "attr batch count d default dictsort first groupby items join last length list map max min random reject "
    "rejectattr reverse select selectattr slice sort sum tojson unique"
)
_OF_LISTS = frozenset(_LIST_FILTERS.split())
_CUTTING_METHODS = frozenset({"split", "rsplit", "splitlines"})
_WIDE_METHODS = frozenset({"center", "ljust", "rjust", "zfill"})
# They make long text from short text, and no template needs them.
_BLOCKED_METHODS = frozenset({"translate", "expandtabs", "format_map"})


class Sandbox(ImmutableSandboxedEnvironment):
    """The names that templates on model hubs rely on (transformers, utils/chat_template_utils.py)."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, _Generation],
            autoescape=False,
            finalize=spend_text,
        )
        self.filters["tojson"] = _tojson
        self.filters = {name: _guarded(name, function) for name, function in self.filters.items()}
        self.tests = {name: _timed(function) for name, function in self.tests.items()}
        self.globals |= {
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
            "dict": _Dict(),
            "namespace": _Namespace,
        }
        # For web pages and filler text.
        del self.globals["lipsum"], self.filters["urlize"], self.filters["xmlattr"]

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed = super()._parse(source, name, filename)
        changed = _Counting().visit(parsed)
        assert isinstance(changed, nodes.Template)
        return changed

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use this attribute of an object."""
        return attr not in _BLOCKED_METHODS and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The operators that can make large values."""
        check_operator(operator, left, right)
        return spend_size(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Every call in a template. The parameter names are Jinja's, so that keywords cannot collide."""
        args = _check_method(__obj, args, kwargs)
        return spend_size(super().call(__context, __obj, *args, **kwargs))

    @staticmethod
    def tick(characters: int) -> None:
        """Count one round of a loop or a macro, which writes this many characters itself."""
        spend(characters)

    @staticmethod
    def concatenate(*values: Any) -> str:
        """The operator `~`."""
        return spend_size("".join([str(spend_text(value)) for value in values]))

    @staticmethod
    def slice(value: Any, start: Any, stop: Any, step: Any) -> Any:
        """value[start:stop:step]."""
        return value[start:stop:step]


class _Counting(NodeTransformer):
    """Makes loops, macros, `~` and slices count against the budget."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        return self._with_tick(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        return self._with_tick(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        return self._with_tick(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _call("concatenate", node.nodes, node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        bounds = [part or nodes.Const(None) for part in (node.arg.start, node.arg.stop, node.arg.step)]
        return _call("slice", [node.node, *bounds], node.lineno)

    def _with_tick(self, node: nodes.For | nodes.Macro | nodes.CallBlock) -> nodes.Node:
        written = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        tick = nodes.ExprStmt(_call("tick", [nodes.Const(written)], node.lineno), lineno=node.lineno)
        node.body.insert(0, tick)
        return node


class _Generation(Extension):
    """{% generation %} marks the model's text, for training; here it only renders its body."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's name and type

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Dict:
    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """Without names that begin with an underscore, which lead to Python's internals."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *given = args
        attributes = dict(*given, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot have the attribute {name!r}")


def _call(method: str, args: Sequence[nodes.Node], line: int) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(method), list(args), [], None, None, lineno=line)


def _check_method(obj: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arguments for a call of `obj`, unless it is a string method that makes too long a text."""
    method = getattr(obj, "__wrapped__", obj)  # Jinja wraps str.format
    text, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
    if not isinstance(text, str):
        return args
    if name in _WIDE_METHODS and args:
        check_width(args[0])
    elif name == "format":
        check_format(text, args, dict(kwargs))
    elif name == "replace" and len(args) > 1:
        check_replace(text, args[0], args[1])
    elif name in _CUTTING_METHODS:
        check_cut(text, text.count(args[0]) if args and args[0] else len(text) // 2)
    elif name == "join" and args:
        items = list(args[0])
        check_join(text, items)
        return (items,)
    return args


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter `name` with a check of the budget before and after it."""
    passed = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        spend()
        value, *given = args[passed:]
        given += kwargs.values()
        if name in _OF_LISTS:
            if isinstance(value, str):
                check_cut(value, len(value))
        elif not isinstance(value, str):
            check_size(weight(value))  # the filter works on its text
        if name in _WIDTHS:
            check_fill(value, given)
        elif name == "format":
            check_format(str(value), given)
        elif name == "replace":
            check_replace(str(value), *given[:2])
        elif name == "tojson":
            check_json(value, given)
        elif name in ("join", "sum"):
            value = list(value)
            args = (*args[:passed], value, *args[passed + 1 :])
            if name == "join":
                check_join(given[:1], value)
            else:
                check_sum(value, given[-1] if given else 0)
        return spend_size(function(*args, **kwargs))

    return guarded


def _timed(function: Any) -> Callable[..., Any]:
    """A test that checks the time, because filters run it on every item."""

    @wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        spend()
        return function(*args, **kwargs)

    return timed


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML, which would change the prompt.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    check_cut(pattern, len(pattern))
    return datetime.now().strftime(pattern)
