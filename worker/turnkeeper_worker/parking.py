"""The park of a run: what a person is asked, what enters the history, and the lease given back."""

from __future__ import annotations

from collections.abc import Sequence

from turnkeeper_storage.model import CallStatus, NewApproval, ToolCall
from turnkeeper_storage.outputs import MCP
from turnkeeper_storage.verbs.park import Parked, boundary_of, park
from turnkeeper_worker import tracing
from turnkeeper_worker.agents import Agent
from turnkeeper_worker.entries import entry_at_park
from turnkeeper_worker.gates import new_approval
from turnkeeper_worker.held import HeldLease
from turnkeeper_worker.history import Entry, History
from turnkeeper_worker.run_record import RunRecord
from turnkeeper_worker.steps import tool_for
from turnkeeper_worker.surroundings import Surroundings


class Parking:
    """Parks one run under its lease. `record` is the loop's; only its `stored_turn` is changed here."""

    def __init__(
        self, around: Surroundings, agent: Agent, history: History, held: HeldLease, record: RunRecord
    ) -> None:
        self._around = around
        self._agent = agent
        self._history = history
        self._held = held
        self._record = record

    async def park(self, calls: Sequence[ToolCall]) -> Parked | None:
        """Ask about these calls of the last turn; None when the run's cancel was asked for meanwhile.

        Raises LeaseLost, DatabaseUnavailable, and RunFailure for a store that cannot be written to.
        """
        record, lease, seconds = self._record, self._held.lease, self._around.settings.lease_seconds
        asked = [self._question(call) for call in calls]
        hooked = self._around.before_persist is not None
        turn, store = record.turns[-1].turn, self._history.store
        entry = entry_at_park(record.brought, record.turns, record.calls, stored_turn=record.stored_turn)
        add = None
        if entry.items:
            add = await self._history.prepare(lease, record.run.id, boundary_of(turn), entry)
            if add is None:  # it stands outside, whatever comes of the transaction
                record.stored_turn = turn
        with tracing.part("park"):
            return await self._around.database.transact(
                lambda uow: park(
                    uow,
                    lease,
                    record.run,
                    asked,
                    turn=turn,
                    add=add,
                    store=store,
                    hooked=hooked,
                    seconds=seconds,
                ),
                "park",
            )

    async def complete(self) -> None:
        """Add what is missing outside, when a worker died while it put a park's items there."""
        record = self._record
        for turn in range((record.stored_turn or 0) + 1, record.run.turn + 1):
            boundary = boundary_of(turn)
            standing = await self._history.standing(record.run, boundary)
            if standing is not None:
                entry = Entry(standing.items, [])
                await self._history.prepare(self._held.lease, record.run.id, boundary, entry)
                record.stored_turn = turn

    def _question(self, call: ToolCall) -> NewApproval:
        tools, tool = self._agent.tools_by_name, None
        if call.status is CallStatus.IN_DOUBT:
            tool = tools.get(call.name)  # to ask whether it happened takes no tool
        elif call.kind != MCP:
            tool = tool_for(call, tools, agent=self._agent.name, stored=True)
        timeout = self._around.settings.approval_timeout
        return new_approval(call, tool, agent_digest=self._agent.digest, timeout=timeout)
