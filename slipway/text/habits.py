"""How a model writes calls and thoughts, as far as its chat template tells; asked by `gateway.prompter`."""

import re
from dataclasses import dataclass
from typing import Self

from slipway.contract.recipe import ToolCallFormat
from slipway.text.reasoning import thinks
from slipway.text.tool_calls.choice import choose


@dataclass(frozen=True, slots=True)
class Habits:
    """knows_tools: whether the template tells the model of tools. calls: how the model writes a call of one;
    None where that is no format of ours. thinks: whether it thinks in tags before it answers.
    """

    knows_tools: bool
    calls: ToolCallFormat | None
    thinks: bool

    @classmethod
    def of(cls, template: str, calls: ToolCallFormat | None) -> Self:
        """template: its source. calls: what the recipe says, which counts more.

        A template that knows no tools leaves them to `description`, which tells of them and of the way in
        which calls are written.
        """
        knows_tools = re.search(r"\btools\b", template) is not None
        return cls(knows_tools, calls or (choose(template) if knows_tools else "hermes"), thinks(template))
