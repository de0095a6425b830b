"""The approvals' rows. All who write here hold the session's row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Row,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from turnkeeper_storage import ids
from turnkeeper_storage.items import digest
from turnkeeper_storage.model import Approval, ApprovalReason, ApprovalStatus, NewApproval
from turnkeeper_storage.sql_types import SECONDS, Instant, after, now, now_once
from turnkeeper_storage.tables import DUE, approvals, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

A = approvals.c
_KEY: BindParameter[str] = bindparam("b_key")
_ID: BindParameter[str] = bindparam("b_id")
_RUN: BindParameter[str] = bindparam("b_run_id")
PENDING = ApprovalStatus.PENDING.value
_IN_TIME = or_(A.expires_at.is_(None), A.expires_at > now())
_AVAILABLE = or_(A.available_at.is_(None), A.available_at <= now())


@dataclass(frozen=True, slots=True)
class ApprovalFilter:
    """Which approvals to list: of a tenant, newest first, in pages that end before the id `before`."""

    tenant: str
    status: ApprovalStatus | None = None
    run_id: str | None = None
    session_id: str | None = None
    tool: str | None = None
    before: str | None = None
    limit: int = 50


READ = select(
    approvals,
    sessions.c.id.label("session_id"),
    _AVAILABLE.label("is_available"),
    (~_IN_TIME).label("is_over"),
).join(sessions, sessions.c.session_key == A.session_key)


def as_approval(row: Row[*tuple[Any, ...]]) -> Approval:
    """A row of the select above as the frozen value."""
    return approval_of(dict(row._mapping))


def approval_of(values: Mapping[str, Any]) -> Approval:
    """The frozen value of the columns of the select above, by name."""
    status = ApprovalStatus(values["status"])
    is_pending, overdue = status is ApprovalStatus.PENDING, bool(values["is_over"])
    return Approval(
        id=values["id"],
        session_key=values["session_key"],
        session_id=values["session_id"],
        tenant=values["tenant"],
        run_id=values["run_id"],
        call_id=values["call_id"],
        turn=values["turn"] or 0,
        tool=values["tool"],
        arguments=values["arguments"],
        arguments_digest=values["arguments_digest"],
        reason=ApprovalReason(values["reason"]),
        status=status,
        edited_arguments=values["edited_arguments"],
        tool_digest=values["tool_digest"],
        agent_digest=values["agent_digest"],
        outcome=values["outcome"],
        sticky=bool(values["sticky"]),
        expires_at=values["expires_at"],
        available_at=values["available_at"],
        decided_by=values["decided_by"],
        decided_at=values["decided_at"],
        note=values["note"],
        created_at=values["created_at"],
        available=is_pending and bool(values["is_available"]) and not overdue,
        overdue=is_pending and overdue,
    )


_GET = READ.where(A.session_key == _KEY, A.id == _ID, A.tenant == bindparam("b_tenant"))


async def get(uow: UnitOfWork, key: str, approval_id: str, tenant: str) -> Approval | None:
    """An approval of this tenant."""
    values = {"b_key": key, "b_id": approval_id, "b_tenant": tenant}
    row = (await uow.execute(_GET, values)).one_or_none()
    return None if row is None else as_approval(row)


_OF_RUN = READ.where(A.session_key == _KEY, A.run_id == _RUN).order_by(A.turn, A.id)
_PENDING_OF_RUN = _OF_RUN.where(A.status == PENDING)


async def list_of_run(uow: UnitOfWork, key: str, run_id: str) -> list[Approval]:
    """All approvals of a run, in the order that they were asked for."""
    rows = await uow.execute(_OF_RUN, {"b_key": key, "b_run_id": run_id})
    return [as_approval(row) for row in rows]


async def pending(uow: UnitOfWork, key: str, run_id: str) -> list[Approval]:
    """The approvals of a run that nobody decided yet."""
    rows = await uow.execute(_PENDING_OF_RUN, {"b_key": key, "b_run_id": run_id})
    return [as_approval(row) for row in rows]


async def search(uow: UnitOfWork, wanted: ApprovalFilter) -> list[Approval]:
    """Approvals by filter, newest first. Raises NotFound for a `run_id` that is none."""
    statement = READ.where(A.tenant == wanted.tenant)
    if wanted.run_id is not None:
        statement = statement.where(A.session_key == ids.key_of(wanted.run_id), A.run_id == wanted.run_id)
    if wanted.session_id is not None:
        statement = statement.where(A.session_key == ids.session_key(wanted.tenant, wanted.session_id))
    if wanted.status is not None:
        statement = statement.where(A.status == wanted.status.value)
    if wanted.tool is not None:
        statement = statement.where(A.tool == wanted.tool)
    if wanted.before is not None:
        statement = statement.where(A.id < wanted.before)
    rows = await uow.execute(statement.order_by(A.id.desc()).limit(wanted.limit))
    return [as_approval(row) for row in rows]


_DUE = (
    select(A.session_key, A.id)
    .where(DUE, A.expires_at <= now_once())
    .order_by(A.expires_at)
    .limit(bindparam("b_limit"))
)


async def due(uow: UnitOfWork, limit: int) -> list[tuple[str, str]]:
    """(session key, id) of approvals whose time is over, the longest first; takes no lock."""
    return [(row[0], row[1]) for row in await uow.execute(_DUE, {"b_limit": limit})]


_ASKED = select(A.call_id, func.count()).where(A.session_key == _KEY, A.run_id == _RUN).group_by(A.call_id)
_INSERT = insert(approvals).values(
    session_key=_KEY,
    id=_ID,
    tenant=bindparam("b_tenant"),
    run_id=_RUN,
    call_id=bindparam("b_call_id"),
    turn=bindparam("b_turn"),
    tool=bindparam("b_tool"),
    arguments=bindparam("b_arguments"),
    arguments_digest=bindparam("b_digest"),
    tool_digest=bindparam("b_tool_digest"),
    agent_digest=bindparam("b_agent_digest"),
    reason=bindparam("b_reason"),
    status=PENDING,
    decision_key=bindparam("b_decision_key"),
    created_at=now(),
)


async def ask(
    uow: UnitOfWork,
    key: str,
    run_id: str,
    tenant: str,
    new: Sequence[NewApproval],
    deadlines: Mapping[str, datetime | None],
) -> None:
    """Insert pending approvals. `deadlines` are of calls in doubt: when the tool's time is over."""
    values = {"b_key": key, "b_run_id": run_id}
    asked = {row[0]: int(row[1]) for row in await uow.execute(_ASKED, values)}
    # sorted, so that those of one park stand in the order of their calls
    fresh = sorted(ids.new_approval_id(key) for _ in new)
    for approval_id, approval in zip(fresh, new, strict=True):
        deadline = deadlines.get(approval.call_id)
        statement = _INSERT.values(
            available_at=_available_at(approval, deadline), expires_at=_expires_at(approval, deadline)
        )
        row = {
            "b_id": approval_id,
            "b_tenant": tenant,
            "b_call_id": approval.call_id,
            "b_turn": approval.turn,
            "b_tool": approval.tool,
            "b_arguments": approval.arguments,
            "b_digest": digest([approval.tool, approval.arguments]),
            "b_tool_digest": approval.tool_digest,
            "b_agent_digest": approval.agent_digest,
            "b_reason": approval.reason.value,
            # the n-th time that this call is asked about
            "b_decision_key": f"{run_id}:{approval.call_id}:{asked.get(approval.call_id, 0) + 1}",
        }
        await uow.execute(statement, values | row)


def _available_at(new: NewApproval, deadline: datetime | None) -> ColumnElement[Any] | None:
    if deadline is None:
        return None if new.available_in is None else _in(new.available_in)
    return _later(deadline, new.available_in or 0.0)


def _expires_at(new: NewApproval, deadline: datetime | None) -> ColumnElement[Any] | None:
    # the time to decide begins when a decision is possible
    if new.expires_in is None:
        return None
    at_least = new.expires_in + (new.available_in or 0.0)
    return (
        _in(at_least) if deadline is None else _later(deadline + timedelta(seconds=new.expires_in), at_least)
    )


def _in(seconds: float) -> ColumnElement[Any]:
    return after(literal(seconds, type_=SECONDS))


def _later(instant: datetime, seconds: float) -> ColumnElement[Any]:
    """The later of an instant and so many seconds from now."""
    given = literal(instant, type_=Instant())
    return case((_in(seconds) > given, _in(seconds)), else_=given)


def has_pending(key: ColumnElement[str], run_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a run waits for somebody, for a statement about its row."""
    return exists(select(A.id).where(A.session_key == key, A.run_id == run_id, A.status == PENDING))


_DECIDE = (
    update(approvals)
    .where(A.session_key == _KEY, A.id == _ID, A.status == PENDING)
    .values(
        status=bindparam("b_status"),
        decided_by=bindparam("b_by"),
        decided_at=now(),
        note=bindparam("b_note"),
        edited_arguments=bindparam("b_edited"),
        outcome=bindparam("b_outcome"),
        sticky=bindparam("b_sticky"),
    )
    .returning(A.decided_at)
)
DECIDE_IN_TIME = _DECIDE.where(_IN_TIME)


async def decide(uow: UnitOfWork, decided: Approval, *, in_time: bool) -> Approval | None:
    """Compare and set: write the decision that `decided` holds on an approval that is still pending.

    `in_time`: only while it has not expired. None when it was not to be written.
    """
    statement = DECIDE_IN_TIME if in_time else _DECIDE
    row = (await uow.execute(statement, decision_values(decided))).one_or_none()
    return None if row is None else replace(decided, decided_at=row[0], available=False, overdue=False)


def decision_values(decided: Approval) -> dict[str, Any]:
    """What `DECIDE_IN_TIME` writes."""
    return {
        "b_key": decided.session_key,
        "b_id": decided.id,
        "b_status": decided.status.value,
        "b_by": decided.decided_by,
        "b_note": decided.note,
        "b_edited": decided.edited_arguments,
        "b_outcome": decided.outcome,
        "b_sticky": decided.sticky,
    }


async def cancel_pending(uow: UnitOfWork, key: str, run_id: str) -> list[Approval]:
    """Cancel what is still open of a run that ends; the approvals as they are then."""
    found = await pending(uow, key, run_id)
    written = [
        await decide(uow, replace(one, status=ApprovalStatus.CANCELLED), in_time=False) for one in found
    ]
    return [one for one in written if one is not None]
