"""Calls as Mistral's models write them, the older ones as an array and the newer ones by name."""

import json

from slipway.text.tool_calls.base import ToolCallParser
from slipway.text.tool_calls.scanning import Reading, expect, identifier, literal, one_of, skip_blanks

_MARKER = "[TOOL_CALLS]"


class MistralParser(ToolCallParser):
    """[TOOL_CALLS] [{"name": …, "arguments": {…}}, …], or [TOOL_CALLS]name[ARGS]{…} once per call."""

    begins = _MARKER[0]
    closers = (",", "]")

    @staticmethod
    def written(name: str, arguments: str) -> str:
        """A call in this format."""
        return f'{_MARKER} [{{"name": {json.dumps(name)}, "arguments": {arguments}}}]'

    def _read(self, first: str) -> Reading[None]:
        yield from literal(_MARKER[1:])
        first = yield from skip_blanks()
        if first == "[":
            yield from self._array()
        elif first == "{":
            yield from self._object(first)
        else:
            yield from self._named(first)

    def _named(self, first: str) -> Reading[None]:
        """Between the name and the arguments come an id in some versions, and [ARGS] in most."""
        name, after = yield from one_of(self._names, "[{", first)
        if after == "[":
            marker, _ = yield from one_of({"ARGS", "CALL_ID"}, "]")
            if marker == "CALL_ID":
                yield from identifier("[")
                yield from literal("ARGS]")
            after = yield from skip_blanks()
        yield from self._arguments(expect(after, "{"), name)
        self._end()
