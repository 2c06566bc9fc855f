"""A body of another API as the chat it asks for; made by `gateway.api.messages` and `.responses`.

One pipeline checks and answers all chats, so errors have to be told in the words of the API that was asked.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydantic import JsonValue
from pydantic_core import to_json

from slipway.contract.errors import InvalidRequest
from slipway.gateway.api.chat import ChatCompletionRequest
from slipway.gateway.validation import check_options, parse

# A message of a chat, as JSON values.
Turn = dict[str, JsonValue]


@dataclass(slots=True)
class Translation:
    """The fields of a chat's body, collected from another body.

    names: what the client calls fields of the chat, or beginnings of their names: messages[1] is input[0].
    """

    fields: dict[str, JsonValue] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)

    def put(self, name: str, value: JsonValue, source: str) -> None:
        """Ask the chat for `value`, which came from the client's field `source`; None asks for nothing."""
        if value is not None:
            self.fields[name] = value
            self.names[name] = source

    def say(self, turn: Turn, source: str) -> None:
        """Add a turn of the conversation, which came from the client's field `source`."""
        self.names[f"messages[{len(self.turns)}]"] = source
        self.turns.append(turn)

    def call(self, call_id: str, name: str, arguments: str, source: str) -> None:
        """Add a call of a tool to the assistant's turn. arguments: a JSON object, as text."""
        call: JsonValue = {
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        if self.turns and self.turns[-1]["role"] == "assistant":
            calls = self.turns[-1].setdefault("tool_calls", [])
            assert isinstance(calls, list)
            calls.append(call)
        else:
            self.say({"role": "assistant", "content": "", "tool_calls": [call]}, source)

    def tool(self, function: Mapping[str, JsonValue], source: str, schema: str) -> None:
        """Offer a tool. schema: what the client calls the field of its parameters."""
        tools = self.fields.setdefault("tools", [])
        assert isinstance(tools, list)
        name = f"tools[{len(tools)}]"
        self.names[f"{name}.function"] = source
        self.names[f"{name}.function.parameters"] = f"{source}.{schema}"
        tools.append({"type": "function", "function": dict(function)})

    def chat(self) -> ChatCompletionRequest:
        """Raises InvalidRequest where a chat would refuse it."""
        body = parse(to_json({**self.fields, "messages": self.turns}), ChatCompletionRequest)
        check_options(body)
        return body

    @contextmanager
    def blaming(self) -> Iterator[None]:
        """Tell what is wrong with a field of the chat as wrong with the client's field."""
        try:
            yield
        except InvalidRequest as error:
            if error.param is None:
                raise
            param = self._renamed(error.param)
            sentence = str(error)
            if sentence.startswith(error.param):
                sentence = param + sentence[len(error.param) :]
            raise type(error)(sentence, param) from None

    def _renamed(self, param: str) -> str:
        known = [name for name in self.names if param == name or param.startswith((f"{name}.", f"{name}["))]
        if not known:
            return param
        longest = max(known, key=len)
        return self.names[longest] + param[len(longest) :]
