"""Gates: which calls of an answer must wait for a person, decided before anything of them runs.

A gated tool runs only calls that carry its own digest: those that its gate let pass, or that a person
approved, as the tool is now. A tool that changed since asks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

from turnkeeper_storage.approvals import rejection_text
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import ApprovalReason, ApprovalStatus, CallStatus, NewApproval, ToolCall
from turnkeeper_storage.outputs import MCP
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.tool_execution import in_thread
from turnkeeper_worker.tools import AnyTool, InvalidArguments

# How long a gate's function may think; after that a person decides.
GATE_SECONDS = 30.0
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gatekeeper:
    """Judges the calls of one run. `sticky` is the run's (see `Run`), `threads` are for sync functions."""

    tools: Mapping[str, AnyTool]
    context: RunContext[Any]
    threads: Executor

    async def judge(self, calls: Sequence[ToolCall], sticky: Mapping[str, Json]) -> list[ToolCall]:
        """The planned calls of an answer: planned still, awaiting a decision, or denied for the whole run."""
        return list(await asyncio.gather(*(self._judge(call, sticky) for call in calls)))

    async def pass_again(self, call: ToolCall, tool: AnyTool) -> ToolCall:
        """A planned call about to run: as it is, or awaiting a decision when its tool is another now."""
        if not tool.is_gated or call.tool_digest == tool.digest:
            return call
        return await self._ask(call, tool)

    async def _judge(self, call: ToolCall, sticky: Mapping[str, Json]) -> ToolCall:
        tool = self.tools.get(call.name) if call.kind != MCP else None
        if call.kind != MCP and (tool is None or not tool.is_gated):
            return call
        gated = call if tool is None else replace(call, tool_digest=tool.digest)
        match _verdict(gated, sticky):
            case {"verdict": ApprovalStatus.REJECTED.value, "reason": reason}:
                return replace(gated, status=CallStatus.DENIED, output=rejection_text(reason))
            case {"verdict": ApprovalStatus.APPROVED.value} if tool is None:
                return replace(gated, status=CallStatus.DONE, output="")
            case {"verdict": ApprovalStatus.APPROVED.value} if not is_malformed(gated, tool):
                return gated
        return await self._ask(gated, tool)

    async def _ask(self, call: ToolCall, tool: AnyTool | None) -> ToolCall:
        awaiting = replace(call, status=CallStatus.AWAITING)
        if tool is None or tool.needs_approval is True:
            return awaiting
        arguments = _parsed(call, tool)
        if arguments is None or await self._needs_approval(tool, call, arguments):
            return awaiting
        return replace(call, tool_digest=tool.digest)

    async def _needs_approval(self, tool: AnyTool, call: ToolCall, arguments: dict[str, Any]) -> bool:
        """What the gate's function says; only False, and said in time, lets a call pass."""
        gate = tool.needs_approval
        if not callable(gate):
            return gate
        context = self.context.for_call(call.call_id)
        try:
            async with asyncio.timeout(GATE_SECONDS):
                if inspect.iscoroutinefunction(gate):
                    answer: object = gate(context, arguments)
                else:
                    answer = await in_thread(self.threads, lambda: gate(context, arguments))
                return (await answer if inspect.isawaitable(answer) else answer) is not False
        except Exception as error:  # noqa: BLE001 - whatever it was, asking a person is the safe answer
            kind = type(error.__cause__ or error).__name__
            log.warning("run %s: the gate of tool %s raised %s", context.run_id, tool.name, kind)
            return True


def new_approval(
    call: ToolCall, tool: AnyTool | None, *, agent_digest: str, timeout: float | None
) -> NewApproval:
    """What a person is asked about a call that waits. `timeout` is the setting's; a tool's own goes first."""
    own = tool.approval_timeout if tool is not None else None
    if call.status is CallStatus.IN_DOUBT:
        reason, tool_digest = ApprovalReason.IN_DOUBT, call.tool_digest
    else:
        reason = ApprovalReason.MALFORMED if is_malformed(call, tool) else ApprovalReason.GATED
        tool_digest = tool.digest if tool is not None else call.tool_digest
    return NewApproval(
        call.call_id,
        call.turn,
        call.name,
        call.arguments,
        reason,
        tool_digest=tool_digest,
        agent_digest=agent_digest,
        expires_in=own if own is not None else timeout,
    )


def is_malformed(call: ToolCall, tool: AnyTool | None) -> bool:
    """Whether the tool cannot take the call's arguments."""
    return tool is not None and _parsed(call, tool) is None


def _parsed(call: ToolCall, tool: AnyTool) -> dict[str, Any] | None:
    if not call.arguments.strip():  # a tool takes no text for no arguments; a person should see that
        return None
    with contextlib.suppress(InvalidArguments):
        return tool.validate(call.arguments)
    return None


def _verdict(call: ToolCall, sticky: Mapping[str, Json]) -> Json:
    """What was decided for all calls of this very tool in this run."""
    standing = sticky.get(call.name)
    if isinstance(standing, dict) and standing.get("tool_digest") == call.tool_digest:
        return standing
    return None
