"""What a chat template shows about a model: tools, the format of calls, reasoning, and the turns it takes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self

from slipway.contract.errors import InvalidRequest, TemplateStopped
from slipway.contract.recipe import ToolCallFormat
from slipway.text.reasoning import thinks
from slipway.text.template import Template
from slipway.text.tool_calls.choice import choose
from slipway.text.turns import CallContent, Turn, TurnRules, fit_turns

_CALL_CONTENTS: tuple[CallContent, ...] = ("missing", "empty", "null")
_EFFORTS = ("low", "medium", "high")
_RARE_EFFORTS = ("none", "minimal", "xhigh", "max")
_LONG_ID = "call_0123456789abcdef"


@dataclass(frozen=True, slots=True)
class TemplateFeatures:
    """knows_tools: whether the template puts tools into the prompt.
    calls: how the model writes a call; None for a format that Slipway cannot read.
    thinks: whether the model thinks in tags before it answers.
    variables: that the template reads, beside those that it sets.
    efforts: the values of its variable `reasoning_effort` that it takes.
    plain: the turns that it takes without tools. with_tools: those that it takes when it has tools.
    """

    knows_tools: bool
    calls: ToolCallFormat | None
    thinks: bool
    variables: frozenset[str]
    efforts: frozenset[str]
    plain: TurnRules
    with_tools: TurnRules

    @classmethod
    def read(cls, template: Template, calls: ToolCallFormat | None) -> Self:
        """Render small conversations to see what the template takes. calls: the recipe's choice, which wins.

        A template without tools gets them in words, with calls in the format of Hermes.
        Raises TemplateStopped.
        """
        with_tools = _Probe(template, [_TOOL])
        knows_tools = with_tools.shows([_USER], _TOOL["function"]["name"])
        source = template.source.text
        return cls(
            knows_tools,
            calls or (choose(source) if knows_tools else "hermes"),
            thinks(source),
            template.variables,
            _efforts(template),
            _Probe(template, None).rules(),
            with_tools.rules(),
        )

    def rules(self, has_tools: bool) -> TurnRules:
        """The turns that the template takes. has_tools: whether tools are given to it."""
        return self.with_tools if has_tools else self.plain

    @property
    def one_call(self) -> bool:
        """Whether a turn can have one call only."""
        return self.knows_tools and self.with_tools.calls and not self.with_tools.several_calls


def _efforts(template: Template) -> frozenset[str]:
    """Every template with efforts has low, medium and high; others count where the source has them quoted."""
    if "reasoning_effort" not in template.variables:
        return frozenset()
    quoted = {word for word in _RARE_EFFORTS if re.search(rf"""(['"]){word}\1""", template.source.text)}
    return frozenset(effort for effort in {*_EFFORTS, *quoted} if _takes_effort(template, effort))


def _takes_effort(template: Template, effort: str) -> bool:
    return _rendered(template, [_USER], kwargs={"reasoning_effort": effort}) is not None


def _rendered(template: Template, turns: Sequence[Turn], **given: Any) -> str | None:
    """The prompt; None where the template refuses the turns."""
    try:
        return template.render(turns, **given)
    except TemplateStopped:
        raise
    except InvalidRequest:
        return None


# Words that no template has.
def _word(name: str) -> str:
    return f"slipway-probe-{name}"


def _turn(role: str, name: str) -> Turn:
    return {"role": role, "content": _word(name)}


def _call(name: str, call_id: str) -> Mapping[str, Any]:
    function = {"name": _word(name), "arguments": {"argument": _word(f"{name}-value")}}
    return {"id": call_id, "type": "function", "function": function}


def _result(name: str, call_id: str) -> Turn:
    return {"role": "tool", "content": _word(name), "tool_call_id": call_id, "name": _word("call")}


_TOOL: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": _word("tool"),
        "description": "A tool.",
        "parameters": {
            "type": "object",
            "properties": {"argument": {"type": "string", "description": "Any text."}},
            "required": ["argument"],
        },
    },
}
_USER, _SECOND = _turn("user", "user"), _turn("user", "second")
_ANSWER, _SYSTEM = _turn("assistant", "answer"), _turn("system", "system")
_SEVERAL_SYSTEMS = [
    _SYSTEM,
    _turn("system", "next-system"),
    _USER,
    _ANSWER,
    _turn("system", "late-system"),
    _SECOND,
]


@dataclass(frozen=True, slots=True)
class _Probe:
    """Renders small conversations. tools: given to the template with each."""

    template: Template
    tools: Sequence[Mapping[str, Any]] | None

    def shows(self, turns: Sequence[Turn], *words: str) -> bool:
        """Whether the template takes these turns and shows all of them, or else these words."""
        prompt = _rendered(self.template, turns, tools=self.tools)
        contents = [turn["content"] for turn in turns if turn.get("content")]
        return prompt is not None and all(word in prompt for word in words or contents)

    def rules(self) -> TurnRules:
        """A template that takes no turn of the user's alone is given everything as it comes."""
        if not self.shows([_USER]):
            return TurnRules()
        rules = TurnRules(
            system=self.shows([_SYSTEM, _USER]),
            systems_anywhere=self.shows(_SEVERAL_SYSTEMS),
            repeated_roles=self.shows([_USER, _SECOND])
            and self.shows([_USER, _ANSWER, _turn("assistant", "more"), _SECOND]),
        )
        return self._with_calls(rules)

    def _with_calls(self, rules: TurnRules) -> TurnRules:
        for text_arguments, long_ids, content in product((False, True), (True, False), _CALL_CONTENTS):
            found = replace(rules, long_ids=long_ids, call_content=content, text_arguments=text_arguments)
            if self._shows_calls(found, 1):
                follows = self._shows_calls(found, 1, [_SECOND])
                apart = replace(found, user_after_result=False)
                return replace(
                    found,
                    several_calls=self._shows_calls(found, 2),
                    system_behind_results=self._shows_calls(found, 1, before=[_SYSTEM]),
                    user_after_result=follows or not self._shows_calls(apart, 1, [_SECOND]),
                )
        return replace(rules, calls=False)

    def _shows_calls(
        self, rules: TurnRules, count: int, after: Sequence[Turn] = (), before: Sequence[Turn] = ()
    ) -> bool:
        """Whether the turns `before`, `count` calls in one turn, their results and `after` are all shown."""
        names = [f"call-{index}" for index in range(count)]
        ids = [f"{_LONG_ID}{index}" for index in range(count)]
        calls = [_call(name, call_id) for name, call_id in zip(names, ids, strict=True)]
        results = [_result(f"result-{call_id}", call_id) for call_id in ids]
        turns = [*before, _USER, {"role": "assistant", "content": "", "tool_calls": calls}, *results, *after]
        words = [_word(name) for name in names] + [_word(f"{name}-value") for name in names]
        words += [turn["content"] for turn in (*before, _USER, *results, *after)]
        return self.shows(fit_turns(turns, rules), *words)
