"""Conversations become prompts in isolated processes, which clients share fairly."""

from functools import partial

from slipway.contract.errors import InvalidRequest
from slipway.gateway.fair_threads import FairThreads
from slipway.gateway.http.context import RequestContext
from slipway.gateway.prompter import Prompter
from slipway.gateway.query import Conversation, Query
from slipway.runtime.isolated.pool import PROCESSES
from slipway.runtime.isolated.template import IsolatedTemplate

# As many connections as wait to be accepted. A conversation takes about a millisecond.
_MAX_OF_CLIENT = 2048


class Rendering:
    """Renders the conversations of one model. Those of another model have processes of their own."""

    def __init__(self, prompter: Prompter) -> None:
        self._prompter = prompter
        self._template = IsolatedTemplate(prompter.template)
        self._threads = FairThreads(PROCESSES, _MAX_OF_CLIENT, "conversations")

    async def render(self, query: Query, context: RequestContext) -> str:
        """The prompt of a conversation; empty for plain prompts.

        Raises InvalidRequest that names the client's field, TemplateStopped, or EngineFailed when the
        process fails.
        """
        if not isinstance(query.prompt, Conversation):
            return ""
        conversation = await context.run(self._prompter.conversation, query)
        rendering = self._threads.run(context.client, partial(self._template.render, **conversation))
        try:
            return await context.run_until_disconnect(rendering)
        except InvalidRequest as error:
            # The template names its own arguments.
            raise type(error)(str(error), query.named(error.param or "messages")) from None

    def close(self) -> None:
        """End the processes, and what they render."""
        self._threads.close()
        self._template.close()
