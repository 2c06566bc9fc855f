"""What the source of a chat template shows about a model: tools, the format of calls, reasoning."""

import re
from dataclasses import dataclass
from typing import Self

from slipway.contract.recipe import ToolCallFormat
from slipway.text.reasoning import thinks
from slipway.text.tool_calls.choice import choose


@dataclass(frozen=True, slots=True)
class TemplateFeatures:
    """knows_tools: whether the template puts tools into the prompt.
    calls: how the model writes a call; None for a format that Slipway cannot read.
    thinks: whether the model thinks in tags before it answers.
    """

    knows_tools: bool
    calls: ToolCallFormat | None
    thinks: bool

    @classmethod
    def read(cls, template: str, calls: ToolCallFormat | None) -> Self:
        """Read the source of a template. calls: the recipe's choice, which wins.

        A template without tools gets them in the system turn, with calls in the format of Hermes.
        """
        knows_tools = re.search(r"\btools\b", template) is not None
        return cls(knows_tools, calls or (choose(template) if knows_tools else "hermes"), thinks(template))
