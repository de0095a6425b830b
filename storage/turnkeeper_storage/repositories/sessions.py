"""The sessions' rows: the queue's counter, the lease, the fence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    Executable,
    Row,
    and_,
    bindparam,
    case,
    false,
    func,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from turnkeeper_storage.errors import LeaseLost
from turnkeeper_storage.model import Lease
from turnkeeper_storage.sql_types import SECONDS, after, now
from turnkeeper_storage.tables import session_items, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
_KEY: BindParameter[str] = bindparam("b_key")
_LEASE: BindParameter[str] = bindparam("b_lease_id")
_SECONDS = bindparam("b_seconds", type_=SECONDS)
_FREE = or_(S.lease_until.is_(None), S.lease_until < now())


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session's row. `is_leased`: a live lease on the database's clock."""

    session_key: str
    tenant: str
    id: str
    store: str
    is_leased: bool
    parked_run: str | None
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """What an enqueue got: its `seq`, and whether a wake-up is due."""

    seq: int
    wake: bool


def _upsert(insert: type[postgresql.Insert] | type[sqlite.Insert], *, takes_seq: bool) -> Executable:
    statement = insert(sessions).values(
        session_key=_KEY,
        tenant=bindparam("b_tenant"),
        id=bindparam("b_id"),
        store=bindparam("b_store"),
        next_seq=2 if takes_seq else 1,
        runnable_since=now() if takes_seq else None,
        created_at=now(),
        updated_at=now(),
    )
    changes: dict[str, object] = {"updated_at": now()}
    if takes_seq:
        since = case(
            (S.parked_run.is_not(None), S.runnable_since),
            (S.runnable_since.is_(None), now()),
            else_=S.runnable_since,
        )
        changes |= {"next_seq": S.next_seq + 1, "runnable_since": since}
    return statement.on_conflict_do_update(index_elements=[S.session_key], set_=changes).returning(
        (S.next_seq - 1).label("seq"), S.store, S.parked_run, and_(~_FREE).label("is_leased")
    )


_ENQUEUE = {
    "postgresql": _upsert(postgresql.Insert, takes_seq=True),
    "sqlite": _upsert(sqlite.Insert, takes_seq=True),
}
_ENSURE = {
    "postgresql": _upsert(postgresql.Insert, takes_seq=False),
    "sqlite": _upsert(sqlite.Insert, takes_seq=False),
}


async def take_seq(uow: UnitOfWork, key: str, tenant: str, session_id: str, store: str) -> Place:
    """Lock the session's row (made when new) and take the next place in its queue (PROTOCOL 2.1)."""
    row = await _lock(uow, _ENQUEUE[uow.dialect], key, tenant, session_id, store)
    return Place(seq=row[0], wake=not row[3] and row[2] is None)


async def ensure(uow: UnitOfWork, key: str, tenant: str, session_id: str, store: str) -> SessionRow:
    """Lock the session's row, made when new."""
    row = await _lock(uow, _ENSURE[uow.dialect], key, tenant, session_id, store)
    return SessionRow(key, tenant, session_id, row[1], bool(row[3]), row[2])


async def _lock(
    uow: UnitOfWork, statement: Executable, key: str, tenant: str, session_id: str, store: str
) -> Row[*tuple[Any, ...]]:
    values = {"b_key": key, "b_tenant": tenant, "b_id": session_id, "b_store": store}
    return (await uow.execute(statement, values)).one()


_GIVE_SEQ_BACK = update(sessions).where(S.session_key == _KEY).values(next_seq=S.next_seq - 1)


async def give_seq_back(uow: UnitOfWork, key: str) -> None:
    """Undo `take_seq` under the same lock: the run exists already."""
    await uow.execute(_GIVE_SEQ_BACK, {"b_key": key})


_LOCK = select(S.session_key, S.tenant, S.id, S.store, and_(~_FREE), S.parked_run, S.epoch).where(
    S.session_key == _KEY
)
_LOCK_FOR_UPDATE = _LOCK.with_for_update(key_share=True)


async def lock(uow: UnitOfWork, key: str) -> SessionRow | None:
    """Lock the session's row and read it; None when there is no such session."""
    row = (await uow.execute(_LOCK_FOR_UPDATE, {"b_key": key})).one_or_none()
    return None if row is None else _as_session(row)


async def find(uow: UnitOfWork, key: str, tenant: str) -> SessionRow | None:
    """The session's row without a lock."""
    row = (
        await uow.execute(_LOCK.where(S.tenant == bindparam("b_tenant")), {"b_key": key, "b_tenant": tenant})
    ).one_or_none()
    return None if row is None else _as_session(row)


def _as_session(row: Row[*tuple[Any, ...]]) -> SessionRow:
    return SessionRow(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6])


@dataclass(frozen=True, slots=True)
class Claimed:
    """A lease just taken. `taken_over`: nobody gave the one before back."""

    lease: Lease
    tenant: str
    session_id: str
    taken_over: bool


# A claim whose answer was lost is asked for again with the same lease_id: it takes again what it took, and
# that is no take-over, so that one crash is not counted twice.
_MINE = and_(S.lease_id.is_not(None), S.lease_id == _LEASE)
_LEASE_VALUES = {
    "epoch": S.epoch + 1,
    "lease_id": _LEASE,
    "lease_owner": bindparam("b_owner"),
    "lease_until": after(_SECONDS),
    "taken_over": case((or_(S.lease_id.is_(None), S.lease_id == _LEASE), false()), else_=true()),
}
_CLAIM = (
    update(sessions)
    .where(S.session_key == _KEY, or_(_FREE, _MINE))
    .values(_LEASE_VALUES)
    .returning(S.session_key, S.epoch, S.tenant, S.id, S.taken_over)
)
_CLAIM_MANY = (
    update(sessions)
    .where(S.session_key.in_(bindparam("b_keys", expanding=True)))
    .values(_LEASE_VALUES)
    .returning(S.session_key, S.epoch, S.tenant, S.id, S.taken_over)
)
_STALE = (
    select(S.session_key)
    .where(S.runnable_since.is_not(None), or_(_FREE, _MINE))
    .order_by(S.runnable_since)
    .limit(bindparam("b_limit"))
    .with_for_update(skip_locked=True, key_share=True)
)


async def claim(uow: UnitOfWork, key: str, lease_id: str, owner: str, seconds: float) -> Claimed | None:
    """Take the lease when it is free or over (PROTOCOL 2.3a); None when another has it."""
    values = {"b_key": key, "b_lease_id": lease_id, "b_owner": owner, "b_seconds": seconds}
    row = (await uow.execute(_CLAIM, values)).one_or_none()
    return None if row is None else Claimed(Lease(row[0], row[1], lease_id), row[2], row[3], bool(row[4]))


async def claim_stale(
    uow: UnitOfWork, limit: int, lease_id: str, owner: str, seconds: float
) -> list[Claimed]:
    """Take up to `limit` sessions that have work and no holder, oldest first (PROTOCOL 2.11)."""
    keys = [row[0] for row in await uow.execute(_STALE, {"b_limit": limit, "b_lease_id": lease_id})]
    if not keys:
        return []
    values = {"b_keys": keys, "b_lease_id": lease_id, "b_owner": owner, "b_seconds": seconds}
    rows = await uow.execute(_CLAIM_MANY, values)
    found = {row[0]: Claimed(Lease(row[0], row[1], lease_id), row[2], row[3], bool(row[4])) for row in rows}
    return [found[key] for key in keys if key in found]


_IS_MINE = and_(S.session_key == _KEY, S.lease_id == _LEASE, S.epoch == bindparam("b_epoch"))
_FENCE = (
    update(sessions)
    .where(_IS_MINE)
    .values(lease_until=after(_SECONDS), taken_over=false())
    .returning(S.epoch)
)
_RELEASE = (
    update(sessions)
    .where(_IS_MINE)
    .values(
        lease_id=None,
        lease_owner=None,
        lease_until=None,
        taken_over=false(),
        runnable_since=case(
            (~bindparam("b_runnable", type_=S.taken_over.type), None),
            (bindparam("b_to_the_back", type_=S.taken_over.type), now()),
            (S.runnable_since.is_(None), now()),
            else_=S.runnable_since,
        ),
        updated_at=now(),
    )
    .returning(S.epoch)
)


async def fence(uow: UnitOfWork, lease: Lease, seconds: float) -> None:
    """Lock the session's row as its holder and renew the lease (PROTOCOL 2.4).

    The first statement of every transaction in which a worker writes. Raises LeaseLost.
    """
    row = (await uow.execute(_FENCE, _mine(lease) | {"b_seconds": seconds})).one_or_none()
    if row is None:
        raise LeaseLost(lease.session_key, lease.epoch)


async def release(uow: UnitOfWork, lease: Lease, *, runnable: bool, to_the_back: bool = False) -> None:
    """Give the lease back. `runnable`: the head can run; `to_the_back`: others that wait go first."""
    values = _mine(lease) | {"b_runnable": runnable, "b_to_the_back": to_the_back}
    if (await uow.execute(_RELEASE, values)).one_or_none() is None:
        raise LeaseLost(lease.session_key, lease.epoch)


def _mine(lease: Lease) -> dict[str, object]:
    return {"b_key": lease.session_key, "b_lease_id": lease.lease_id, "b_epoch": lease.epoch}


_PAIR = tuple_(S.session_key, S.lease_id)
_PICKED = (
    select(S.session_key)
    .where(_PAIR.in_(bindparam("b_pairs", expanding=True)))
    .order_by(S.session_key)
    .with_for_update(skip_locked=True, key_share=True)
)
_RENEW = (
    update(sessions)
    .where(S.session_key.in_(bindparam("b_keys", expanding=True)))
    .values(lease_until=after(_SECONDS))
)
_HELD = select(S.session_key, S.lease_id).where(S.session_key.in_(bindparam("b_keys", expanding=True)))


async def renew(uow: UnitOfWork, leases: Sequence[Lease], seconds: float) -> set[str]:
    """Renew many leases; the keys of those renewed. Rows that others have
    locked are left out (PROTOCOL 2.10).
    """
    pairs = [(lease.session_key, lease.lease_id) for lease in leases]
    keys = [row[0] for row in await uow.execute(_PICKED, {"b_pairs": pairs})]
    if keys:
        await uow.execute(_RENEW, {"b_keys": keys, "b_seconds": seconds})
    return set(keys)


async def holders(uow: UnitOfWork, keys: Sequence[str]) -> dict[str, str | None]:
    """The lease_id that stands on each of these sessions, without a lock."""
    return {row[0]: row[1] for row in await uow.execute(_HELD, {"b_keys": list(keys)})}


_TAKE_POSITIONS = (
    update(sessions)
    .where(S.session_key == _KEY)
    .values(next_position=S.next_position + bindparam("b_count"), updated_at=now())
    .returning(S.next_position)
)


async def take_positions(uow: UnitOfWork, key: str, count: int) -> int:
    """The first of `count` positions at the end of the history, under the row's lock."""
    row = (await uow.execute(_TAKE_POSITIONS, {"b_key": key, "b_count": count})).one()
    return int(row[0]) - count


_PARK = (
    update(sessions)
    .where(_IS_MINE)
    .values(
        lease_id=None,
        lease_owner=None,
        lease_until=None,
        taken_over=false(),
        runnable_since=None,
        parked_run=bindparam("b_run_id"),
        store=bindparam("b_store"),
        updated_at=now(),
    )
    .returning(S.epoch)
)


async def park(uow: UnitOfWork, lease: Lease, run_id: str, store: str) -> None:
    """Give the lease back with this run parked in the session: nothing can run before a decision.

    `store`: where the session's items live. Raises LeaseLost.
    """
    values = _mine(lease) | {"b_run_id": run_id, "b_store": store}
    if (await uow.execute(_PARK, values)).one_or_none() is None:
        raise LeaseLost(lease.session_key, lease.epoch)


_UNPARK = update(sessions).where(S.session_key == _KEY).values(parked_run=None)


async def unpark(uow: UnitOfWork, key: str) -> None:
    """No run is parked in the session any more, so enqueues wake again; under the row's lock."""
    await uow.execute(_UNPARK, {"b_key": key})


_SET_RUNNABLE = (
    update(sessions)
    .where(S.session_key == _KEY)
    .values(
        runnable_since=case(
            (~bindparam("b_runnable", type_=S.taken_over.type), None),
            (S.runnable_since.is_(None), now()),
            else_=S.runnable_since,
        )
    )
)


async def set_runnable(uow: UnitOfWork, key: str, runnable: bool) -> None:
    """Tell the sweeper whether the head of the session can run, under the row's lock."""
    await uow.execute(_SET_RUNNABLE, {"b_key": key, "b_runnable": runnable})


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions to list: all of a tenant by id, in pages that begin past the id `after`."""

    tenant: str
    prefix: str | None = None
    after: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session and how much is in it. `store` says where its items live; `items` counts ours only."""

    session_key: str
    tenant: str
    id: str
    store: str
    runs: int
    items: int
    created_at: datetime
    updated_at: datetime


async def search(uow: UnitOfWork, wanted: SessionFilter) -> list[SessionSummary]:
    """Sessions by filter, in the order of their ids, each with its counts."""
    statement = select(S.session_key, S.tenant, S.id, S.store, S.next_seq - 1, S.created_at, S.updated_at)
    statement = statement.where(S.tenant == wanted.tenant)
    if wanted.prefix:
        # not LIKE, which knows no case on SQLite
        statement = statement.where(func.substr(S.id, 1, len(wanted.prefix)) == wanted.prefix)
    if wanted.after is not None:
        statement = statement.where(S.id > wanted.after)
    rows = (await uow.execute(statement.order_by(S.id).limit(wanted.limit))).all()
    counts = await _count_items(uow, [row[0] for row in rows])
    return [
        SessionSummary(row[0], row[1], row[2], row[3], row[4], counts.get(row[0], 0), row[5], row[6])
        for row in rows
    ]


_COUNT_ITEMS = (
    select(session_items.c.session_key, func.count())
    .where(session_items.c.session_key.in_(bindparam("b_keys", expanding=True)))
    .group_by(session_items.c.session_key)
)


async def _count_items(uow: UnitOfWork, keys: Sequence[str]) -> dict[str, int]:
    if not keys:
        return {}
    return {row[0]: row[1] for row in await uow.execute(_COUNT_ITEMS, {"b_keys": list(keys)})}
