"""The tool calls of a turn, side by side, each with its output committed (PROTOCOL 2.6)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from turnkeeper_storage.crash_points import reach
from turnkeeper_storage.errors import RunFailure
from turnkeeper_storage.model import CallStatus, ToolCall
from turnkeeper_storage.outputs import MCP
from turnkeeper_storage.verbs import checkpoint
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.context import RunContext
from turnkeeper_worker.deadline import Deadline, Late
from turnkeeper_worker.gates import Gatekeeper
from turnkeeper_worker.held import HeldLease
from turnkeeper_worker.steps import tool_for, unknown_tool_output
from turnkeeper_worker.surroundings import Surroundings
from turnkeeper_worker.tool_execution import execute
from turnkeeper_worker.tools import AnyTool

# What the self-check before an effect leaves for the request to get out, in parts of a lease.
MARGIN = 0.1
CUT_OFF = "The run's deadline passed while this tool ran. It is not known what it did."


@dataclass(frozen=True, slots=True)
class Ran:
    """The calls after their run, by call id, and the first failure that ends the run.

    A call that must wait for a person instead is among them as awaiting, or as in doubt.
    """

    settled: dict[str, ToolCall]
    failure: RunFailure | None


class ToolCalls:
    """Runs calls of one run under its lease."""

    def __init__(
        self,
        around: Surroundings,
        agent: Agent,
        held: HeldLease,
        context: RunContext[Any],
        gatekeeper: Gatekeeper,
        *,
        is_same_agent: bool = True,
    ) -> None:
        self._around = around
        self._agent = agent
        self._held = held
        self._context = context
        self._gatekeeper = gatekeeper
        # whether calls of an earlier worker's checkpoint were planned by the agent as it is here
        self._is_same_agent = is_same_agent
        self._planned_here: set[str] = set()

    def planned(self, calls: Sequence[ToolCall]) -> None:
        """These calls come from an answer of this process, not from another worker's checkpoint."""
        self._planned_here.update(call.call_id for call in calls)

    async def run(self, calls: Sequence[ToolCall], deadline: Deadline) -> Ran:
        """Run the calls at once, to the end of each: when one fails the run, what the others did stands.

        At the run's deadline those that still work are cancelled, and closed.

        Raises LeaseLost and DatabaseUnavailable; a RunFailure is in the result.
        """
        tasks = [asyncio.create_task(self._one(call, deadline), name=f"tool:{call.name}") for call in calls]
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            raise
        settled: dict[str, ToolCall] = {}
        failures: list[RunFailure] = []
        for call, task in zip(calls, tasks, strict=True):
            try:
                settled[call.call_id] = task.result()
            except RunFailure as failure:
                failures.append(failure)
                text = f"Tool error: {failure.message}"
                settled[call.call_id] = replace(call, status=CallStatus.CLOSED, output=text)
        return Ran(settled, failures[0] if failures else None)

    async def _one(self, call: ToolCall, deadline: Deadline) -> ToolCall:
        if call.status is CallStatus.STARTED:  # by a worker that died: whether it happened, nobody knows
            return replace(call, status=CallStatus.IN_DOUBT)
        if call.kind == MCP:  # approved; the model server runs it when it is told
            return await self._settle(call, "")
        # An agent that never had the tool gets an error to learn from; one that lost it cannot go on.
        stored = not self._is_same_agent and call.call_id not in self._planned_here
        tools = self._agent.tools_by_name
        tool = tool_for(call, tools, agent=self._agent.name, stored=stored)
        if tool is None:
            return await self._settle(call, unknown_tool_output(call.name, tools))
        call = await self._gatekeeper.pass_again(call, tool)
        if call.status is not CallStatus.PLANNED:
            return call
        if not (call.idempotent and tool.idempotent) and not await self._start(call, tool):
            return replace(call, status=CallStatus.IN_DOUBT)
        reach("tool.calling")
        try:
            async with deadline.holds():
                output = await execute(
                    tool,
                    call,
                    self._context,
                    threads=self._around.threads,
                    max_output_bytes=self._around.settings.max_output_bytes,
                )
        except Late:
            # the run fails at its next step, and this stands in its history
            return replace(call, status=CallStatus.CLOSED, output=CUT_OFF)
        reach("tool.returned")
        return await self._settle(call, output)

    async def _start(self, call: ToolCall, tool: AnyTool) -> bool:
        """Record the start of a call that must not happen twice, then make sure that the lease is ours.

        False when it was recorded before: also by an attempt of ours whose answer was lost.
        """
        seconds = self._around.settings.lease_seconds
        asked_at = time.monotonic()
        is_first = await self._around.database.transact(
            lambda uow: checkpoint.start_call(
                uow, self._held.lease, self._context.run_id, call, tool.timeout, seconds
            ),
            "start_call",
        )
        self._held.renewed(asked_at, seconds)
        if is_first:
            self._held.check(MARGIN * seconds)
        return is_first

    async def _settle(self, call: ToolCall, output: str) -> ToolCall:
        seconds = self._around.settings.lease_seconds
        asked_at = time.monotonic()
        await self._around.database.transact(
            lambda uow: checkpoint.settle_call(
                uow, self._held.lease, self._context.run_id, call.call_id, output, seconds
            ),
            "settle_call",
        )
        self._held.renewed(asked_at, seconds)
        self._held.progressed()
        return replace(call, status=CallStatus.DONE, output=output)
