"""How much a model thinks: from what a client asks to what its chat template and its engine can do."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Self

from pydantic import JsonValue

from slipway.gateway.query import Effort, Thinking
from slipway.text.template_features import TemplateFeatures

# Variables with which published templates switch thinking on and off.
_SWITCHES = ("enable_thinking", "thinking")
# By what a client asks: the levels to give a template, the first that it takes.
_LEVELS: Mapping[Effort, tuple[Effort, ...]] = {
    "none": ("none",),
    "minimal": ("minimal", "low"),
    "low": ("low",),
    "medium": ("medium", "high"),
    "high": ("high",),
    "xhigh": ("xhigh", "high"),
    "max": ("max", "xhigh", "high"),
}


@dataclass(frozen=True, slots=True)
class ThinkingPlan:
    """variables: for the chat template. limit: tokens of a thought; None for no limit.

    ignored: of the fields reasoning_effort and thinking_budget, those that have no effect.
    """

    variables: Mapping[str, JsonValue] = field(default_factory=dict)
    limit: int | None = None
    ignored: Collection[str] = ()

    @classmethod
    def of(cls, asked: Thinking, features: TemplateFeatures, can_limit: bool) -> Self:
        """What becomes of `asked`. can_limit: whether a thought can be ended on this engine."""
        variables: dict[str, JsonValue] = {}
        ignored: list[str] = []
        limit: int | None = None
        can_limit = can_limit and features.thinks
        switch = next((name for name in _SWITCHES if name in features.variables), None)
        if switch and (asked.effort or asked.budget):
            variables[switch] = asked.effort != "none"
        if asked.effort is not None:
            level = next((each for each in _LEVELS[asked.effort] if each in features.efforts), None)
            if level is not None:
                variables["reasoning_effort"] = level
            elif asked.effort != "none":
                ignored.append("reasoning_effort")
            elif switch is None and can_limit:
                limit = 0
            elif switch is None and features.thinks:
                ignored.append("reasoning_effort")
        if asked.budget is not None:
            if "thinking_budget" in features.variables:
                variables["thinking_budget"] = asked.budget
            if can_limit:
                limit = asked.budget
            elif "thinking_budget" not in variables:
                ignored.append("thinking_budget")
        return cls(variables, limit, ignored)
