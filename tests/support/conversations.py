"""Conversations that chat templates must render as elsewhere."""

from typing import Any

from support.templates import USER

SYSTEM = {"role": "system", "content": " You are brief.\n"}

ANSWER = {"role": "assistant", "content": "  It rains. "}

CALLING = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": "서울", "days": 2, "exact": True}},
        }
    ],
}

SILENT = {**CALLING, "content": None}

RESULT = {"role": "tool", "tool_call_id": "abcdefghi", "name": "get_weather", "content": '{"rain": "많이"}'}

THOUGHT = {"role": "assistant", "content": "Rain.", "reasoning_content": "hm\n"}

INLINE = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nRain."}

CONVERSATIONS: list[list[dict[str, Any]]] = [
    [USER],
    [SYSTEM, USER],
    [USER, ANSWER, USER],
    [SYSTEM, USER, ANSWER, USER, ANSWER],
    [{"role": "user", "content": ""}],
    [{"role": "system", "content": ""}, USER],
    [USER, CALLING, RESULT],
    [SYSTEM, USER, CALLING, RESULT, ANSWER, USER],
    [USER, SILENT, RESULT, RESULT, ANSWER],
    [USER, THOUGHT, USER],
    [USER, INLINE, USER],
    [USER, USER],
    [ANSWER],
]

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city <now> & then, 날씨.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "ping", "description": "", "parameters": {}}},
]
