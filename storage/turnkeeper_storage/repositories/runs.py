"""The runs' rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    Insert,
    Row,
    and_,
    bindparam,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from turnkeeper_storage import ids
from turnkeeper_storage.model import Event, EventType, Run, RunError, RunOptions, RunStatus, Usage
from turnkeeper_storage.model import NewRun as NewRun
from turnkeeper_storage.repositories import events
from turnkeeper_storage.sql_types import SECONDS, after, among, now
from turnkeeper_storage.tables import ACTIVE, OPEN, runs
from turnkeeper_storage.tracing import current_trace_parent
from turnkeeper_storage.unit_of_work import UnitOfWork

R = runs.c
_KEY: BindParameter[str] = bindparam("b_key")
_ID: BindParameter[str] = bindparam("b_id")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list: all of a tenant, newest first, in pages that end before the id `before`."""

    tenant: str
    session_id: str | None = None
    status: RunStatus | None = None
    agent: str | None = None
    before: str | None = None
    limit: int = 50


def as_run(row: Row[*tuple[Any, ...]]) -> Run:
    """A row of the table as the frozen value."""
    return run_of(dict(row._mapping))


def run_of(values: Mapping[str, Any]) -> Run:
    """The frozen value of a run's columns, by name."""
    error = values["error"]
    return Run(
        session_key=values["session_key"],
        session_id=values["session_id"],
        tenant=values["tenant"],
        id=values["id"],
        seq=values["seq"],
        status=RunStatus(values["status"]),
        agent=values["agent"],
        input=values["input"],
        options=RunOptions.from_json(values["options"]),
        turn=values["turn"],
        crashes=values["crashes"],
        cancel_requested=bool(values["cancel_requested"]),
        merged_input=values["merged_input"],
        stored_input=values["stored_input"],
        idempotency_key=values["idempotency_key"],
        output=values["output"],
        error=RunError(error["code"], error["message"]) if error else None,
        usage=Usage.from_json(values["usage"]),
        agent_digest=values["agent_digest"],
        next_event=values["next_event"],
        deadline=values["deadline"],
        created_at=values["created_at"],
        started_at=values["started_at"],
        finished_at=values["finished_at"],
        parked_turn=values["parked_turn"],
        sticky=values["sticky"] or {},
        state_version=values["state_version"],
        trace_parent=values["trace_parent"],
    )


def _insert(kind: type[postgresql.Insert] | type[sqlite.Insert]) -> Insert:
    statement = kind(runs).values(
        session_key=_KEY,
        id=_ID,
        tenant=bindparam("b_tenant"),
        session_id=bindparam("b_session_id"),
        seq=bindparam("b_seq"),
        status=RunStatus.QUEUED.value,
        agent=bindparam("b_agent"),
        input=bindparam("b_input"),
        input_digest=bindparam("b_input_digest"),
        options=bindparam("b_options"),
        trace_parent=bindparam("b_trace_parent"),
        idempotency_key=bindparam("b_idempotency_key"),
        next_event=2,
        # no seconds, no deadline: the sum of an instant and NULL is NULL
        deadline=after(bindparam("b_deadline_seconds", type_=SECONDS)),
        created_at=now(),
    )
    same = [R.session_key, R.id]
    return statement.on_conflict_do_nothing(index_elements=same).returning(R.created_at, R.deadline)


_INSERT = {"postgresql": _insert(postgresql.Insert), "sqlite": _insert(sqlite.Insert)}


async def add(uow: UnitOfWork, new: NewRun, seq: int) -> Run | None:
    """Insert a queued run and its first event; None when a run of this id is there already."""
    await events.add_first(uow, new.session_key, Event(new.id, 1, EventType.QUEUED, {"seq": seq}))
    values = given(new) | {"b_seq": seq}
    row = (await uow.write(_INSERT[uow.dialect], values)).one_or_none()
    return None if row is None else as_queued(new, seq, values["b_trace_parent"], row[0], row[1])


def given(new: NewRun) -> dict[str, Any]:
    """What a new run's row is made of, but for its place in the queue."""
    return {
        "b_key": new.session_key,
        "b_id": new.id,
        "b_tenant": new.tenant,
        "b_session_id": new.session_id,
        "b_agent": new.agent,
        "b_input": new.input,
        "b_input_digest": new.input_digest,
        "b_options": new.options.as_json() or None,
        "b_trace_parent": current_trace_parent(),
        "b_idempotency_key": new.idempotency_key,
        "b_deadline_seconds": new.deadline_seconds,
    }


def as_queued(
    new: NewRun, seq: int, trace_parent: str | None, created_at: datetime, deadline: datetime | None
) -> Run:
    """The run as it is when it was accepted."""
    return Run(
        session_key=new.session_key,
        session_id=new.session_id,
        tenant=new.tenant,
        id=new.id,
        seq=seq,
        status=RunStatus.QUEUED,
        agent=new.agent,
        input=new.input,
        options=new.options,
        idempotency_key=new.idempotency_key,
        next_event=2,
        deadline=deadline,
        created_at=created_at,
        trace_parent=trace_parent,
    )


_SAME = select(R.id, R.input_digest).where(
    R.session_key == _KEY, (R.idempotency_key == bindparam("b_idempotency_key")) | (R.id == _ID)
)


async def find_same(uow: UnitOfWork, new: NewRun) -> tuple[str, str] | None:
    """(id, input digest) of a run with this id or idempotency key, if there is one."""
    values = {"b_key": new.session_key, "b_idempotency_key": new.idempotency_key, "b_id": new.id}
    row = (await uow.execute(_SAME, values)).first()
    return None if row is None else (row[0], row[1])


_GET = select(runs).where(R.session_key == _KEY, R.id == _ID, R.tenant == bindparam("b_tenant"))


async def get(uow: UnitOfWork, key: str, run_id: str, tenant: str) -> Run | None:
    """A run of this tenant."""
    row = (await uow.execute(_GET, {"b_key": key, "b_id": run_id, "b_tenant": tenant})).one_or_none()
    return None if row is None else as_run(row)


_HEAD = select(runs).where(R.session_key == _KEY, OPEN).order_by(R.seq).limit(1)
_LOWEST = (
    select(R.session_key, func.min(R.seq).label("seq"))
    .where(among(R.session_key, "b_keys"), OPEN)
    .group_by(R.session_key)
    .subquery()
)
_HEADS = select(runs).join(_LOWEST, and_(R.session_key == _LOWEST.c.session_key, R.seq == _LOWEST.c.seq))


async def head(uow: UnitOfWork, key: str) -> Run | None:
    """The run with the lowest seq that has not ended. No SKIP LOCKED: it would slide to the second."""
    row = (await uow.execute(_HEAD, {"b_key": key})).one_or_none()
    return None if row is None else as_run(row)


async def heads(uow: UnitOfWork, keys: Sequence[str]) -> dict[str, Run]:
    """The head of each of these sessions that has one."""
    return {row.session_key: as_run(row) for row in await uow.execute(_HEADS, {"b_keys": list(keys)})}


_ACTIVE = select(R.id, R.status).where(R.session_key == _KEY, ACTIVE)


async def active(uow: UnitOfWork, key: str) -> tuple[str, RunStatus] | None:
    """The run that works in, or is parked in, the session."""
    row = (await uow.execute(_ACTIVE, {"b_key": key})).one_or_none()
    return None if row is None else (row[0], RunStatus(row[1]))


# A run that was decided, or handed over to be cancelled, has calls in the history whose outputs are to come.
_IN_HISTORY = or_(
    R.status.in_([RunStatus.RUNNING.value, RunStatus.AWAITING_APPROVAL.value]),
    and_(R.status == RunStatus.QUEUED.value, R.parked_turn.is_not(None)),
)
_BUSY = select(R.id, R.status).where(R.session_key == _KEY, OPEN, _IN_HISTORY).order_by(R.seq).limit(1)


async def busy(uow: UnitOfWork, key: str) -> tuple[str, RunStatus] | None:
    """The run that is not through with the session's history: at work, parked, or on its way from there."""
    row = (await uow.execute(_BUSY, {"b_key": key})).one_or_none()
    return None if row is None else (row[0], RunStatus(row[1]))


_HAS_OPEN = select(R.status).where(R.session_key == _KEY, OPEN).order_by(R.seq).limit(1)


async def head_is_runnable(uow: UnitOfWork, key: str) -> bool:
    """Whether the session has a head, and it is not parked."""
    status = (await uow.execute(_HAS_OPEN, {"b_key": key})).scalar_one_or_none()
    return status is not None and status != RunStatus.AWAITING_APPROVAL


_CANCELLED = select(R.session_key, R.id).where(among(R.session_key, "b_keys"), ACTIVE, R.cancel_requested)


async def cancel_requested(uow: UnitOfWork, keys: Sequence[str]) -> dict[str, str]:
    """The active runs, by session key, whose cancel was asked for."""
    return {row[0]: row[1] for row in await uow.execute(_CANCELLED, {"b_keys": list(keys)})}


async def search(uow: UnitOfWork, wanted: RunFilter) -> list[Run]:
    """Runs by filter, newest first."""
    statement = select(runs).where(R.tenant == wanted.tenant)
    if wanted.session_id is not None:
        statement = statement.where(R.session_key == ids.session_key(wanted.tenant, wanted.session_id))
    if wanted.status is not None:
        statement = statement.where(R.status == wanted.status.value)
    if wanted.agent is not None:
        statement = statement.where(R.agent == wanted.agent)
    if wanted.before is not None:
        statement = statement.where(R.id < wanted.before)
    rows = await uow.execute(statement.order_by(R.id.desc()).limit(wanted.limit))
    return [as_run(row) for row in rows]


_MISSING = select(R.agent_missing_since <= after(-bindparam("b_seconds", type_=SECONDS))).where(
    R.session_key == _KEY, R.id == _ID
)


async def is_agent_missing_for(uow: UnitOfWork, key: str, run_id: str, seconds: float) -> bool:
    """Whether workers without its agent have given this run back for longer than `seconds`."""
    values = {"b_key": key, "b_id": run_id, "b_seconds": seconds}
    return bool((await uow.execute(_MISSING, values)).scalar_one())


_STATUS = select(R.status).where(R.session_key == _KEY, R.id == _ID, R.tenant == bindparam("b_tenant"))


async def status(uow: UnitOfWork, key: str, run_id: str, tenant: str) -> RunStatus | None:
    """Where a run of this tenant stands, without its contents: what one polls."""
    values = {"b_key": key, "b_id": run_id, "b_tenant": tenant}
    found = (await uow.execute(_STATUS, values)).scalar_one_or_none()
    return None if found is None else RunStatus(found)


_USAGES = select(R.usage).where(
    R.session_key == _KEY, R.tenant == bindparam("b_tenant"), R.usage.is_not(None)
)


async def usages(uow: UnitOfWork, key: str, tenant: str) -> list[Usage]:
    """What each run of a session of this tenant has used so far; of a run that works, its committed turns."""
    rows = await uow.execute(_USAGES, {"b_key": key, "b_tenant": tenant})
    return [Usage.from_json(row[0]) for row in rows]
