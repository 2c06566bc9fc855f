"""The program of a process that renders a chat template."""

import gc
from typing import Any

from slipway.contract.errors import TemplateStopped
from slipway.runtime.isolated.program import run_program
from slipway.text.template import ChatTemplate, TemplateSource

# A few times the characters that a template may make, at four bytes each.
MAX_BYTES = 1 << 30


class TemplateProgram:
    """Answers the arguments of `Template.render` with the prompt."""

    def open(self, opening: Any) -> list[str]:
        """opening: the fields of a TemplateSource. Returns the variables. Raises EngineRefused."""
        self._template = ChatTemplate.of(TemplateSource(**opening))
        return sorted(self._template.variables)

    def answer(self, question: Any) -> str:
        """Errors as for `ChatTemplate.render`."""
        try:
            return self._template.render(**question)
        except TemplateStopped as error:
            reason = str(error)
        gc.collect()  # what the template made, up to the process's bound
        raise TemplateStopped(reason, param="messages")


if __name__ == "__main__":
    run_program(TemplateProgram(), MAX_BYTES)
