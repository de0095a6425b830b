"""A claim by one statement: the lease, the start of a head that is queued, and its event (PostgreSQL).

It reads the runs as they were before it waited for the session's row, so what it does not see is no answer:
only a head that it sees queued, and that still is when its row is written, is taken. All else wants a closer
look (`leases.claim`, then the head in a statement of its own).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    Text,
    bindparam,
    case,
    cast,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from turnkeeper_storage.items import encode
from turnkeeper_storage.model import Event, EventType, Run, RunStatus
from turnkeeper_storage.repositories import leases, runs
from turnkeeper_storage.repositories.leases import FREE, LEASE_VALUES, MINE, Claimed
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import OPEN, run_events, sessions
from turnkeeper_storage.tables import runs as table
from turnkeeper_storage.unit_of_work import UnitOfWork

S, R, E = sessions.c, table.c, run_events.c
_KEY: BindParameter[str] = bindparam("b_key", type_=S.session_key.type)
_QUEUED = RunStatus.QUEUED.value


@dataclass(frozen=True, slots=True)
class Started:
    """A lease just taken, and the head of its session, which runs now."""

    claimed: Claimed
    run: Run


_HEAD = (
    select(R.id, R.status, R.started_at.is_(None).label("is_new"))
    .where(R.session_key == _KEY, OPEN)
    .order_by(R.seq)
    .limit(1)
    .cte("head")
)
_LEASE = (
    update(sessions)
    .where(
        S.session_key == _KEY,
        or_(FREE, MINE),
        S.suspect.is_(None),
        exists(select(_HEAD.c.id).where(_HEAD.c.status == _QUEUED)),
    )
    .values(LEASE_VALUES)
    .returning(S.session_key, S.epoch, S.tenant, S.id, S.taken_over, S.store, S.suspect)
    .cte("lease")
)
_START = (
    update(table)
    .where(
        R.session_key == _KEY,
        R.id == _HEAD.c.id,
        R.status == _QUEUED,
        # as it was seen: else somebody has started it meanwhile
        R.started_at.is_(None) == _HEAD.c.is_new,
        exists(select(_LEASE.c.epoch)),
    )
    .values(
        status=RunStatus.RUNNING.value,
        next_event=R.next_event + case((R.started_at.is_(None), 1), else_=0),
        started_at=func.coalesce(R.started_at, now()),
    )
    .returning(*R, _HEAD.c.is_new)
    .cte("started")
)
_BOTH = _LEASE.join(_START, true())
# the text around the numbers, in the order of the keys
_BEFORE, _BETWEEN, _BEHIND = encode({"turn": 0, "epoch": 0}).split("0")


def _text(value: ColumnElement[Any] | str) -> ColumnElement[str]:
    return literal(value, Text()) if isinstance(value, str) else cast(value, Text())


_EVENT_ROW: dict[str, ColumnElement[Any]] = {
    "session_key": _START.c.session_key,
    "run_id": _START.c.id,
    "n": _START.c.next_event - 1,
    "type": literal(EventType.STARTED.value, E.type.type),
    "data": _text(_BEFORE)
    .concat(_text(_START.c.turn + 1))
    .concat(_text(_BETWEEN))
    .concat(_text(_LEASE.c.epoch))
    .concat(_text(_BEHIND)),
    "created_at": now(),
}
_EVENT = insert(run_events).from_select(
    list(_EVENT_ROW), select(*_EVENT_ROW.values()).select_from(_BOTH).where(_START.c.is_new)
)
# as `is_lasting=False` does for a transaction of several statements
_LIGHTLY = func.set_config("synchronous_commit", "off", True)
_LEASED = len(_LEASE.c)
_CLAIM = (
    select(
        *(column.label(f"lease_{place}") for place, column in enumerate(_LEASE.c)),
        *(column.label(f"run_{place}") for place, column in enumerate(_START.c)),
        _LIGHTLY.label("lightly"),
    )
    .select_from(_BOTH)
    .add_cte(_EVENT.cte("event"))
)


async def claim_queued(
    uow: UnitOfWork, key: str, lease_id: str, owner: str, seconds: float
) -> Started | None:
    """Take the lease and start the head, when it is sure that both can be had; None: a closer look is due.

    Then the lease may be taken, in this `lease_id`, with no run started. The whole transaction.
    """
    if uow.dialect != "postgresql" or uow.whole is None:
        return None
    values = {"b_key": key, "b_lease_id": lease_id, "b_owner": owner, "b_seconds": seconds}
    row = (await uow.whole(_CLAIM, values)).one_or_none()
    if row is None:
        return None
    names = [column.name for column in R]
    run = runs.run_of(dict(zip(names, row[_LEASED : _LEASED + len(names)], strict=True)))
    claimed = leases.claimed(row[:_LEASED], lease_id)
    if row[_LEASED + len(names)]:
        data = {"turn": run.turn + 1, "epoch": claimed.lease.epoch}
        uow.events.append(Event(run.id, run.next_event - 1, EventType.STARTED, data))
    return Started(claimed, run)
