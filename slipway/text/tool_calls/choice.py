"""The tool-call parser for a model, by its chat template."""

from collections.abc import Collection, Mapping

from slipway.contract.recipe import ToolCallFormat
from slipway.text.tool_calls.base import ToolCallParser
from slipway.text.tool_calls.hermes import HermesParser
from slipway.text.tool_calls.llama3 import Llama3Parser
from slipway.text.tool_calls.mistral import MistralParser

PARSERS: Mapping[ToolCallFormat, type[ToolCallParser]] = {
    "hermes": HermesParser,
    "llama3": Llama3Parser,
    "mistral": MistralParser,
}
# <tool_call> is also the tag of formats without JSON (Qwen3-Coder, GLM 4.5).
_NO_JSON = ("<function=", "<arg_key>")


def choose(template: str) -> ToolCallFormat | None:
    """The format that a chat template teaches its model; None if Slipway cannot read it."""
    if "[TOOL_CALLS]" in template:
        return "mistral"
    if "<tool_call>" in template and not any(tag in template for tag in _NO_JSON):
        return "hermes"
    if '{"name": function name, "parameters":' in template:
        return "llama3"
    return None


def parser(family: ToolCallFormat, names: Collection[str]) -> ToolCallParser:
    """A parser for one answer. names: of the offered tools."""
    return PARSERS[family](names)
