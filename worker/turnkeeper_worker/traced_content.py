"""Items as OpenTelemetry's conventions show messages, for spans that may hold contents. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from turnkeeper_storage.items import Item, Json, text_of


def instructions(text: str) -> str:
    """`gen_ai.system_instructions` as JSON."""
    return _as_json([{"type": "text", "content": text}] if text else [])


def input_messages(items: Sequence[Item]) -> str:
    """`gen_ai.input.messages` as JSON."""
    return _as_json([_message(item) for item in items])


def output_messages(items: Sequence[Item]) -> str:
    """`gen_ai.output.messages` as JSON: one message with all parts of the answer."""
    return _as_json([{"role": "assistant", "parts": [_part(item) for item in items]}])


def _message(item: Item) -> dict[str, Json]:
    match item.get("type", "message"):
        case "function_call" | "custom_tool_call" | "reasoning":
            role = "assistant"
        case "function_call_output" | "custom_tool_call_output":
            role = "tool"
        case _:
            role = str(item.get("role", "assistant"))
    return {"role": role, "parts": [_part(item)]}


def _part(item: Item) -> dict[str, Json]:
    kind = item.get("type", "message")
    match kind:
        case "message":
            return {"type": "text", "content": text_of(item)}
        case "function_call" | "custom_tool_call":
            given = item.get("arguments", item.get("input"))
            return {
                "type": "tool_call",
                "id": item.get("call_id"),
                "name": item.get("name"),
                "arguments": given,
            }
        case "function_call_output" | "custom_tool_call_output":
            return {"type": "tool_call_response", "id": item.get("call_id"), "response": item.get("output")}
        case _:
            return {"type": str(kind)}


def _as_json(value: Json) -> str:
    return json.dumps(value, default=str)


def sendable(text: str) -> str:
    """The text without halves of surrogate pairs, which no exporter takes."""
    return text.encode(errors="replace").decode()
