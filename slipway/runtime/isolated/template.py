"""A chat template that renders in isolated processes.

Templates come with checkpoints, from unknown authors. Their sandbox counts time and memory between the steps
of a template. One step may take hours inside Python, such as the hash of tuples that contain themselves many
times over, and a thread that takes it can neither be ended nor lets others run.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any

from slipway.contract.errors import EngineRefused, TemplateStopped
from slipway.contract.recipe import ToolCallFormat
from slipway.runtime.isolated.pool import ProcessPool
from slipway.runtime.isolated.process import PATIENCE_S, Stopped
from slipway.text.template import FILE_NAME, RenderArguments, TemplateSource, stopped
from slipway.text.template_features import TemplateFeatures


class IsolatedTemplate:
    """Renders as `ChatTemplate` does. The processes start when they are needed.

    Call from as many threads as the pool has processes.
    """

    def __init__(self, source: TemplateSource) -> None:
        self.source = source
        program = "slipway.runtime.isolated.template_program"
        self._pool = ProcessPool(program, asdict(source), opening_s=PATIENCE_S)

    @property
    def variables(self) -> frozenset[str]:
        """That the template reads, beside those that it sets.

        Raises EngineRefused when the template is no valid Jinja, or takes too long to compile.
        """
        try:
            return frozenset(self._pool.open())
        except Stopped as error:
            raise EngineRefused(f"{self._path} cannot be used as a chat template: {error}.") from None

    @property
    def _path(self) -> str:
        return f"{self.source.directory}/{FILE_NAME}"

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt of a conversation. Arguments, in JSON, and errors are those of `ChatTemplate.render`.

        Also raises EngineFailed when the process fails for another reason than the template.
        """
        arguments: RenderArguments = {
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
            "continue_final_message": continue_final_message,
            "kwargs": kwargs,
        }
        try:
            prompt: str = self._pool.ask(arguments)
        except Stopped as error:
            raise stopped(str(error)) from None
        return prompt

    def close(self) -> None:
        """End the processes. What is rendered meanwhile fails with EngineFailed."""
        self._pool.close()


def read_features(source: TemplateSource, calls: ToolCallFormat | None) -> TemplateFeatures:
    """What the template shows about its model. calls: as for `TemplateFeatures.read`.

    Raises EngineRefused when the template is no valid Jinja, or is stopped at a small conversation.
    """
    with closing(IsolatedTemplate(source)) as template:
        try:
            return TemplateFeatures.read(template, calls)
        except TemplateStopped as error:
            raise EngineRefused(f"{source.directory} has a broken chat template. {error}") from None
