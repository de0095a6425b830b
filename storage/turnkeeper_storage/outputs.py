"""The items that answer tool calls: one per call, in the order of the calls. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from turnkeeper_storage.items import Item
from turnkeeper_storage.model import CallStatus, ToolCall

FUNCTION = "function"
CUSTOM = "custom"
MCP = "mcp"
CANCELLED_TEXT = "The run was cancelled before this tool ran."
UNKNOWN_TEXT = "It is not known whether this tool ran."


def output_item(call: ToolCall) -> Item:
    """The item that answers a settled call."""
    text = call.output or ""
    if call.kind == MCP:
        approves = call.status is CallStatus.DONE
        answer: Item = {
            "type": "mcp_approval_response",
            "approval_request_id": call.call_id,
            "approve": approves,
        }
        return answer if approves or not text else {**answer, "reason": text}
    kind = "custom_tool_call_output" if call.kind == CUSTOM else "function_call_output"
    return {"type": kind, "call_id": call.call_id, "output": text}


def outputs_of(calls: Sequence[ToolCall], turn: int) -> list[Item]:
    """The answers to the settled calls of a turn, in the order of the calls."""
    wanted = [call for call in calls if call.turn == turn and call.is_settled]
    return [output_item(call) for call in sorted(wanted, key=lambda call: call.position)]


def close(call: ToolCall, text: str = CANCELLED_TEXT) -> ToolCall:
    """The call with an outcome: its own when it has one, else `text`, by default that its run was cancelled.

    A call that was under way, or is in doubt, may have had its effect: its output does not deny that.
    """
    if call.is_settled:
        return call
    may_have_run = call.status in (CallStatus.STARTED, CallStatus.IN_DOUBT)
    return replace(call, status=CallStatus.CLOSED, output=UNKNOWN_TEXT if may_have_run else text)
