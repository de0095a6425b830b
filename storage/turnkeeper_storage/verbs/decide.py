"""Decide: a person's answer, as a compare-and-set under the session's row lock (PROTOCOL 2.7)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from turnkeeper_storage import approvals as rules
from turnkeeper_storage.approvals import Applied, Decision, DecisionKind, Refused, Repeated
from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import Approval, ApprovalStatus, EventType, Run, RunStatus, ToolCall
from turnkeeper_storage.repositories import approvals, decidable, deciding, sessions, turns
from turnkeeper_storage.repositories.decidable import Decidable
from turnkeeper_storage.repositories.sessions import SessionRow
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import settling


@dataclass(frozen=True, slots=True)
class Decided:
    """The approval and its run as they are now. `wake`: the run is queued again, so a wake-up is due.

    `conflict` is None when the decision stands, else the state that it lost against; raise it after the
    commit (`approvals.raise_conflict`), because the transaction may hold an expiry.
    """

    approval: Approval
    run: Run
    wake: bool
    conflict: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """An approval with all that a decision on it needs, read under the session's lock."""

    session: SessionRow
    approval: Approval
    run: Run
    call: ToolCall
    # of the run's other approvals
    still_open: int

    @property
    def as_it_is(self) -> Decided:
        # a wake-up that was lost with the answer of an earlier attempt is rung again: it does no harm
        wake = self.run.status is RunStatus.QUEUED and not self.session.is_leased
        return Decided(self.approval, self.run, wake)


async def decide(
    uow: UnitOfWork, key: str, approval_id: str, tenant: str, decision: Decision, *, is_all: bool = False
) -> Decided:
    """Decide an approval of this tenant; the last open one of its run queues the run again, in its old place.

    The same decision again is answered as before. One that lost is told with `conflict`; one that comes after
    the approval's time performs the expiry here. `is_all`: the transaction does nothing else, so that one
    statement may be all that is written. Raises NotFound, and InvalidInput when it does not fit.
    """
    rules.check_decision(decision)
    if is_all:
        at_once = await _decide_at_once(uow, key, approval_id, tenant, decision)
        if at_once is not None:
            return at_once
    found = await lock(uow, key, approval_id, tenant)
    verdict = _judged(found, decision)
    match verdict:
        case Repeated():
            return found.as_it_is
        case Refused(state, expires=True):
            return replace(await write_expiry(uow, found), conflict=state)
        case Refused(state):
            return replace(found.as_it_is, conflict=state)
        case Applied():
            written = await _write(uow, found, verdict, decision)
            if written is None:  # its time ended between the look and the write
                expired = await write_expiry(uow, found)
                return replace(expired, conflict=ApprovalStatus.EXPIRED.value)
            return written


async def _decide_at_once(
    uow: UnitOfWork, key: str, approval_id: str, tenant: str, decision: Decision
) -> Decided | None:
    """A decision that queues the run and changes nothing else; None when it is no such one."""
    found = await decidable.look(uow, key, approval_id, tenant)
    if found is None or found.others or decision.sticky or found.session.parked_run != found.run.id:
        return None
    verdict = _judged(found, decision)
    if not isinstance(verdict, Applied) or verdict.cancels or verdict.arguments is not None:
        return None
    after = _decided(found.approval, verdict, decision)
    call = settling.decided_call(found.call, verdict)
    _, data = settling.decided_event(after)
    written = await deciding.decide_last(uow, after, found.run, call, data)
    if written is None:
        return None
    approval, run, is_leased = written
    return Decided(approval, run, wake=not is_leased)


def _judged(found: Standing | Decidable, decision: Decision) -> Applied | Repeated | Refused:
    return rules.decide(
        found.approval,
        found.run,
        found.call,
        decision,
        is_expired=found.approval.overdue,
        is_available=found.approval.available,
    )


async def lock(uow: UnitOfWork, key: str, approval_id: str, tenant: str | None) -> Standing:
    """Lock the session's row, then read the approval; of any tenant when None. Raises NotFound."""
    session = await sessions.lock(uow, key)
    if session is None:
        raise NotFound("approval", approval_id)
    found = await decidable.get(uow, key, approval_id, session.tenant if tenant is None else tenant)
    if found is None:
        raise NotFound("approval", approval_id)
    return Standing(session, found.approval, found.run, found.call, found.others)


async def write_expiry(uow: UnitOfWork, found: Standing) -> Decided:
    """Write that nobody decided in time."""
    applied = rules.expire(found.approval)
    after = replace(found.approval, status=applied.status)
    written = await approvals.decide(uow, after, in_time=False)
    if written is None:
        return found.as_it_is
    await settling.write_call(uow, written, found.call, applied)
    return await _go_on(uow, found, [written], {})


async def _write(uow: UnitOfWork, found: Standing, applied: Applied, decision: Decision) -> Decided | None:
    after = _decided(found.approval, applied, decision)
    written = await approvals.decide(uow, after, in_time=True)
    if written is None:
        return None
    await settling.write_call(uow, written, found.call, applied)
    settled = [written]
    values: dict[str, object] = {}
    if decision.sticky:
        values["sticky"] = {**found.run.sticky, written.tool: _sticky(written)}
        settled += await _follow(uow, written, decision)
    if applied.cancels:
        values["cancel_requested"] = True
        settled += await approvals.cancel_pending(uow, written.session_key, written.run_id)
    return await _go_on(uow, found, settled, values)


async def _follow(uow: UnitOfWork, decided: Approval, decision: Decision) -> list[Approval]:
    """Apply a sticky decision to the run's other open approvals of the tool."""
    key, run_id = decided.session_key, decided.run_id
    calls = {call.call_id: call for call in await turns.list_calls(uow, key, run_id)}
    followed: list[Approval] = []
    for approval in await approvals.pending(uow, key, run_id):
        applied = rules.follow(approval, decided, decision)
        if applied is None:
            continue
        written = await approvals.decide(uow, _decided(approval, applied, decision), in_time=True)
        if written is not None:
            await settling.write_call(uow, written, calls[approval.call_id], applied)
            followed.append(written)
    return followed


async def _go_on(
    uow: UnitOfWork, found: Standing, settled: list[Approval], values: dict[str, object]
) -> Decided:
    """Write the events, and queue the run when nothing is open any more."""
    key, run = found.approval.session_key, found.run
    told: list[tuple[EventType, dict[str, Json]]] = [settling.decided_event(one) for one in settled]
    # nobody else opens or decides one: all of that holds the session's row
    is_last = found.still_open == len(settled) - 1
    if is_last and run.status is RunStatus.AWAITING_APPROVAL:
        values = {**values, "status": RunStatus.QUEUED.value}
    if settling.is_unparked(found.session, run, values):
        await sessions.unpark_runnable(uow, key)
        changed = await settling.report(uow, run, told, values)
        return Decided(settled[0], changed, wake=not found.session.is_leased)
    changed = await settling.report(uow, run, told, values)
    wake = await settling.wake(uow, found.session, changed) if is_last else False
    return Decided(settled[0], changed, wake)


def _decided(approval: Approval, applied: Applied, decision: Decision) -> Approval:
    return replace(
        approval,
        status=applied.status,
        decided_by=decision.by,
        note=decision.note,
        edited_arguments=applied.arguments,
        outcome=applied.outcome,
        sticky=decision.sticky,
    )


def _sticky(approval: Approval) -> dict[str, Json]:
    return {
        "verdict": approval.status.value,
        "by": approval.decided_by,
        "reason": approval.note,
        "tool_digest": approval.tool_digest,
    }


__all__ = ["Decided", "Decision", "DecisionKind", "decide"]
