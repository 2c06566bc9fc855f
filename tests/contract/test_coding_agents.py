"""Claude Code and Codex: requests with the fields that they send unasked, through the whole loop."""

import json
from typing import Any

import pytest
from support.gateways import Gateway

READ = {
    "type": "object",
    "properties": {"path": {"enum": ["README.md", "Makefile"]}},
    "required": ["path"],
    "additionalProperties": False,
}
CACHED = {"cache_control": {"type": "ephemeral"}}


def claude_code(gateway: Gateway, thinking: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The body of a turn. The limit of tokens is far beyond a small model's context."""
    return {
        "model": gateway.model,
        "max_tokens": 32_000,
        "system": [
            {"type": "text", "text": "You are a coding agent."},
            {"type": "text", "text": "Use the tools.", **CACHED},
        ],
        "tools": [
            {"name": "mcp__" + "files" * 12 + "__read", "description": "Read", "input_schema": READ},
            {"name": "Task", "input_schema": {"type": "object"}, "eager_input_streaming": True, **CACHED},
        ],
        "thinking": thinking,
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "metadata": {"user_id": "user_1"},
        "temperature": 0,
        "stream": True,
        **fields,
    }


def events(text: str) -> list[dict[str, Any]]:
    return [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
    ]


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "enabled", "budget_tokens": 31_999}])
def test_claude_code_calls_a_tool_and_goes_on_with_its_result(
    gateway: Gateway, thinking: dict[str, Any]
) -> None:
    def turn(messages: list[Any], **fields: Any) -> tuple[dict[str, Any], str, str]:
        body = claude_code(gateway, thinking, messages=messages, **fields)
        response = gateway.post("/v1/messages?beta=true", json=body)
        assert response.status_code == 200, response.text
        sent = events(response.text)
        starts = [event["content_block"] for event in sent if event["type"] == "content_block_start"]
        deltas = [event["delta"] for event in sent if event["type"] == "content_block_delta"]
        block = starts[0]
        text = "".join(each.get("partial_json", each.get("text", "")) for each in deltas)
        (end,) = [event["delta"]["stop_reason"] for event in sent if event["type"] == "message_delta"]
        ignored = response.headers["x-slipway-ignored"].split(", ")
        assert {"output_config.effort", "context_management.edits", "metadata"} <= set(ignored)
        return block, text, end

    messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Read it.", **CACHED}]}]
    one = {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}}
    call, arguments, end = turn(messages, **one, tools=claude_code(gateway, thinking)["tools"][:1])
    assert (call["type"], end) == ("tool_use", "tool_use")
    assert call["name"].startswith("mcp__files")
    called = {**call, "input": json.loads(arguments)}
    assert called["input"]["path"] in READ["properties"]["path"]["enum"]
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "# Slipway", **CACHED}
    messages += [{"role": "assistant", "content": [called]}, {"role": "user", "content": [result]}]
    said, text, end = turn(messages, tool_choice={"type": "none"}, stop_sequences=[" "])
    assert said["type"] == "text"
    assert text
    assert end == "stop_sequence"


def test_codex_calls_a_function_of_a_namespace_and_goes_on_with_its_result(gateway: Gateway) -> None:
    read = {"type": "function", "name": "read", "description": "Read", "strict": False, "parameters": READ}
    plan = {"type": "function", "name": "update_plan", "strict": False, "parameters": {"type": "object"}}

    def turn(items: list[Any], **fields: Any) -> list[dict[str, Any]]:
        body = {
            "model": gateway.model,
            "instructions": "You are a coding agent.",
            "input": items,
            "tools": [
                {"type": "namespace", "name": "mcp__files", "description": "Files", "tools": [read]},
                plan,
                {"type": "web_search", "external_web_access": False, "search_context_size": "low"},
            ],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "reasoning": {"effort": "medium", "summary": "auto"},
            "store": False,
            "stream": True,
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "thread_1",
            "client_metadata": {"session": "1"},
            "truncation": "auto",
            "temperature": 0,
            **fields,
        }
        response = gateway.post("/v1/responses", json=body)
        assert response.status_code == 200, response.text
        ignored = set(response.headers["x-slipway-ignored"].split(", "))
        assert {"tools[2]", "include", "client_metadata", "reasoning.effort", "truncation"} <= ignored
        sent = events(response.text)
        ended = sent[-1]["response"]
        assert [tool["type"] for tool in ended["tools"]] == ["namespace", "function"]
        assert ended["tools"][0]["tools"][0]["name"] == "read"
        items = [event["item"] for event in sent if event["type"] == "response.output_item.done"]
        assert items == ended["output"]
        return items

    items: list[Any] = [
        {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}
        for role, text in (("developer", "Sandbox: none"), ("user", "Read it."))
    ]
    [call] = turn(items, tool_choice={"type": "function", "name": "mcp__files__read"})
    assert (call["type"], call["namespace"], call["name"]) == ("function_call", "mcp__files", "read")
    assert json.loads(call["arguments"])["path"] in READ["properties"]["path"]["enum"]
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None}
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "# Slipway"}
    items += [thought, {key: call[key] for key in call if key != "status"}, result]
    [said] = turn(items, tool_choice="none", max_output_tokens=12)
    assert said["type"] == "message"
    assert said["content"][0]["text"]
