"""Runs that wait for a person: what a worker does up to the park, and what people do after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import literal, update

from tests.conformance.desk import LEASE_SECONDS, TENANT, Desk, new_run
from turnkeeper_storage.approvals import Decision, DecisionKind
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.model import (
    Approval,
    ApprovalReason,
    ApprovalStatus,
    CallStatus,
    Event,
    EventType,
    Merged,
    NewApproval,
    NewRun,
    Run,
    ToolCall,
    Turn,
    Usage,
)
from turnkeeper_storage.outputs import outputs_of
from turnkeeper_storage.repositories import approvals, items
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import approvals as approvals_table
from turnkeeper_storage.unit_of_work import Origin, UnitOfWork
from turnkeeper_storage.verbs.add_input import add_input
from turnkeeper_storage.verbs.adding import AddItems
from turnkeeper_storage.verbs.checkpoint import checkpoint_turn, load_progress, settle_call, start_call
from turnkeeper_storage.verbs.claim import Job
from turnkeeper_storage.verbs.decide import Decided, decide
from turnkeeper_storage.verbs.enqueue import Enqueued, enqueue
from turnkeeper_storage.verbs.expire import due, expire
from turnkeeper_storage.verbs.park import Parked, park

QUESTION = user_message("Refund order 7")
ARGUMENTS = '{"order":7}'
DIGEST = "digest of refund"


def call(call_id: str, position: int = 0, *, turn: int = 1, name: str = "refund", **more: Any) -> ToolCall:
    return ToolCall(call_id, turn, name, ARGUMENTS, position, **more)


def call_item(call: ToolCall) -> Item:
    if call.kind == "mcp":
        return {"type": "mcp_approval_request", "id": call.call_id, "name": call.name}
    return {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": ARGUMENTS}


def ask(call: ToolCall, **more: Any) -> NewApproval:
    given = {"tool_digest": DIGEST, **more}
    return NewApproval(call.call_id, call.turn, call.name, call.arguments, **given)


def approve(**more: Any) -> Decision:
    return Decision(DecisionKind.APPROVE, "ana", **more)


def reject(reason: str | None = None, **more: Any) -> Decision:
    return Decision(DecisionKind.REJECT, "ben", reason, **more)


class Parking(Desk):
    """Sessions are given by their id; a parked run has asked for `refund` once or more in its first turn."""

    async def answered(
        self, calls: Sequence[ToolCall], session: str = "s", *, turn: int = 1, job: Job | None = None
    ) -> Job:
        """A run whose model asked for these calls; enqueued and claimed here unless there is a job."""
        if job is None:
            await self.put(replace(new_run(session), input=[QUESTION]))
            job = await self.take(session)
        lease, run = job.lease, job.run
        made = Turn(turn, f"resp_{turn}", [call_item(one) for one in calls], Usage(requests=1))
        merged = Merged([QUESTION], [QUESTION]) if run.merged_input is None else None
        changed = await self.database.transact(
            lambda uow: checkpoint_turn(uow, lease, run, made, calls, merged, LEASE_SECONDS, "agent")
        )
        return replace(job, run=changed)

    async def try_to_park(
        self,
        job: Job,
        asked: Sequence[NewApproval],
        *,
        turn: int = 1,
        add: AddItems | None = None,
        store: str = "database",
    ) -> Parked | None:
        return await self.database.transact(
            lambda uow: park(
                uow, job.lease, job.run, asked, turn=turn, add=add, store=store, seconds=LEASE_SECONDS
            )
        )

    async def park_job(self, job: Job, asked: Sequence[NewApproval], **more: Any) -> Parked:
        """A park that must come about."""
        parked = await self.try_to_park(job, asked, **more)
        assert parked is not None
        return parked

    async def parked(
        self,
        *call_ids: str,
        session: str = "s",
        store: str = "database",
        expires_in: float | None = None,
        kind: str = "function",
    ) -> Parked:
        """A run parked in its first turn for these calls, its input and calls in the history."""
        names = call_ids or ("call_1",)
        calls = [
            call(name, at, status=CallStatus.AWAITING, kind=kind, tool_digest=DIGEST)
            for at, name in enumerate(names)
        ]
        job = await self.answered(calls, session)
        made = [QUESTION, *map(call_item, calls)]
        asked = [ask(one, expires_in=expires_in) for one in calls]
        return await self.park_job(job, asked, add=adds(job, made), store=store)

    async def in_doubt(self, call_id: str = "call_1", **more: Any) -> Parked:
        """A run parked because its worker died in a tool that must not run twice."""
        one = call(call_id, idempotent=False, tool_digest=DIGEST)
        job = await self.answered([one])
        await self.start(job, one, more.pop("tool_seconds", 0))
        await self.crash()
        heir = await self.take()
        asked = [ask(one, reason=ApprovalReason.IN_DOUBT, **more)]
        return await self.park_job(heir, asked, add=adds(heir, [QUESTION, call_item(one)]))

    async def start(self, job: Job, one: ToolCall, seconds: float = 0) -> None:
        await self.database.transact(
            lambda uow: start_call(uow, job.lease, job.run.id, one, seconds, LEASE_SECONDS)
        )

    async def settle(self, job: Job, call_id: str, output: str) -> None:
        await self.database.transact(
            lambda uow: settle_call(uow, job.lease, job.run.id, call_id, output, LEASE_SECONDS)
        )

    async def decide(self, approval: Approval, decision: Decision, *, tenant: str = TENANT) -> Decided:
        return await self.database.transact(
            lambda uow: decide(uow, approval.session_key, approval.id, tenant, decision, is_all=self.is_all)
        )

    async def expire(self, approval: Approval) -> Decided:
        return await self.database.transact(lambda uow: expire(uow, approval.session_key, approval.id))

    async def due(self, limit: int = 10) -> list[tuple[str, str]]:
        return await self.database.read(lambda uow: due(uow, limit))

    async def run_late(self, *late: Approval) -> None:
        """The time of these approvals is over."""
        for approval in late:
            over = update(approvals_table).where(approvals_table.c.id == approval.id)
            await self.sql(over.values(expires_at=after(literal(-1.0, type_=SECONDS))))

    async def let_decide(self, approval: Approval) -> None:
        """The time before which nobody may decide has passed."""
        where = approvals_table.c.id == approval.id
        await self.sql(update(approvals_table).where(where).values(available_at=None))

    async def reopen(self, approval: Approval) -> None:
        """An approval that is pending against all rules."""
        where = approvals_table.c.id == approval.id
        await self.sql(update(approvals_table).where(where).values(status="pending"))

    async def add_input(self, run: Run, *texts: str) -> Run:
        new = [user_message(text) for text in texts]
        return await self.database.transact_once(
            lambda uow: add_input(uow, run.session_key, run.id, run.tenant, new)
        )

    async def send(self, on_paused: str, session: str = "s", *, text: str = "never mind") -> Enqueued:
        new: NewRun = new_run(session, text)
        return await self.database.transact(lambda uow: enqueue(uow, new, on_paused=on_paused, is_all=True))

    async def approval(self, given: Approval) -> Approval:
        found = await self.database.read(
            lambda uow: approvals.get(uow, given.session_key, given.id, given.tenant)
        )
        assert found is not None
        return found

    async def approvals(self, run: Run) -> list[Approval]:
        return await self.database.read(lambda uow: approvals.list_of_run(uow, run.session_key, run.id))

    async def turns(self, run: Run) -> list[Turn]:
        return (await self.database.read(lambda uow: load_progress(uow, run.session_key, run.id)))[0]

    async def calls(self, run: Run) -> dict[str, ToolCall]:
        found = (await self.database.read(lambda uow: load_progress(uow, run.session_key, run.id)))[1]
        return {one.call_id: one for one in found}

    async def told(self, run: Run, kind: EventType) -> list[Event]:
        """The events of one type, after a look at all of them: they are dense."""
        every = await self.events(run)
        assert [event.n for event in every] == list(range(1, len(every) + 1))
        assert (await self.run(run)).next_event == len(every) + 1
        return [event for event in every if event.type is kind]

    async def finish_resumed(self, job: Job, *, go_on: bool = False) -> None:
        """What a worker does with a decided run: run what was approved, add the outputs and the answer."""
        for one in (await self.calls(job.run)).values():
            if not one.is_settled:
                await self.settle(job, one.call_id, "refunded")
        settled = list((await self.calls(job.run)).values())
        answer = {"type": "message", "role": "assistant", "content": "Done."}
        rest = [*outputs_of(settled, job.run.parked_turn or 0), answer]
        await self.finish(job, turn=2, add=adds(job, rest, turn=2), go_on=go_on)


def adds(job: Job, made: Sequence[Item], turn: int = 1) -> AddItems:
    async def add(uow: UnitOfWork) -> None:
        uow.origin = Origin(job.run.id, job.lease.epoch, [turn] * len(made))
        await items.append(uow, job.lease.session_key, made)
        uow.origin = None

    return add


async def check_agreement(desk: Parking, run: Run) -> None:
    """What must hold at every moment of a run that asked for consent."""
    stored, asked, calls = await desk.run(run), await desk.approvals(run), await desk.calls(run)
    row = await desk.row(run.session_id)
    pending = [one for one in asked if one.status is ApprovalStatus.PENDING]
    waits = stored.status.value == "awaiting_approval"
    assert bool(pending) == waits
    assert (row["parked_run"] == run.id) == waits
    if waits:
        assert row["lease_id"] is None
        assert row["runnable_since"] is None
    latest = {one.call_id: one for one in asked}
    for call_id, one in latest.items():
        stands = calls[call_id].status
        match one.status:
            case ApprovalStatus.PENDING:
                assert stands in (CallStatus.AWAITING, CallStatus.IN_DOUBT)
            case ApprovalStatus.EXPIRED:
                assert stands is CallStatus.DENIED
            case ApprovalStatus.REJECTED:
                assert stands in (CallStatus.DENIED, CallStatus.CLOSED)
            case ApprovalStatus.CANCELLED:
                assert stands is CallStatus.CLOSED
    if stored.status.is_terminal:
        assert all(one.is_settled for one in calls.values())
    for kind in EventType:
        await desk.told(run, kind)
