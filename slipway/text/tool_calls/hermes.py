"""Calls as Qwen 2.5, Qwen 3 and Hermes write them: one JSON object between two tags each."""

import json

from slipway.text.tool_calls.base import ToolCallParser
from slipway.text.tool_calls.scanning import NoCall, Reading, literal, skip_blanks

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


class HermesParser(ToolCallParser):
    """<tool_call>{"name": …, "arguments": {…}}</tool_call>, once per call."""

    begins = _OPEN[0]
    closers = (_CLOSE,)

    @staticmethod
    def written(name: str, arguments: str) -> str:
        """A call in this format."""
        return f'{_OPEN}\n{{"name": {json.dumps(name)}, "arguments": {arguments}}}\n{_CLOSE}'

    def _read(self, first: str) -> Reading[None]:
        yield from literal(_OPEN[1:])
        yield from self._object((yield from skip_blanks()))
        if (yield from skip_blanks()) != _CLOSE[0]:
            raise NoCall
        yield from literal(_CLOSE[1:])
        self._end()
