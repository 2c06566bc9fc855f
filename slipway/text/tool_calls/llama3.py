"""Calls as Llama 3.1, 3.2 and 3.3 write them: bare JSON objects, anywhere in the answer."""

import json

from slipway.text.tool_calls.base import ToolCallParser
from slipway.text.tool_calls.scanning import Reading, literal, skip_blanks

_TAG = "<|python_tag|>"


class Llama3Parser(ToolCallParser):
    """{"name": …, "parameters": {…}}, sometimes behind a tag; several are separated by semicolons."""

    begins = "{" + _TAG[0]
    between = ";"

    @staticmethod
    def written(name: str, arguments: str) -> str:
        """A call in this format."""
        return f'{{"name": {json.dumps(name)}, "parameters": {arguments}}}'

    def _read(self, first: str) -> Reading[None]:
        if first == _TAG[0]:
            yield from literal(_TAG[1:])
            first = yield from skip_blanks()
        yield from self._object(first)
