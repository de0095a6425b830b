"""Leases: who may work on a session, taken, proved, renewed and given back on the session's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    and_,
    bindparam,
    case,
    false,
    func,
    or_,
    select,
    true,
    update,
)

from turnkeeper_storage.errors import LeaseLost
from turnkeeper_storage.joined_writes import Change, Write, counted
from turnkeeper_storage.model import Lease
from turnkeeper_storage.sql_types import SECONDS, after, among, now
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
_KEY: BindParameter[str] = bindparam("b_key")
_LEASE: BindParameter[str] = bindparam("b_lease_id")
_SECONDS = bindparam("b_seconds", type_=SECONDS)
FREE = or_(S.lease_until.is_(None), S.lease_until < now())


@dataclass(frozen=True, slots=True)
class Claimed:
    """A lease just taken. `taken_over`: nobody gave the one before back; `store`: where its items live.

    `suspect`: with how many others that crash their workers its head was in one process, None: it is none.
    """

    lease: Lease
    tenant: str
    session_id: str
    taken_over: bool
    store: str
    suspect: int | None = None


# A claim whose answer was lost is asked for again with the same lease_id: it takes again what it took, and
# that is no take-over, so that one crash is not counted twice.
MINE = and_(S.lease_id.is_not(None), S.lease_id == _LEASE)
LEASE_VALUES = {
    "epoch": S.epoch + 1,
    "lease_id": _LEASE,
    "lease_owner": bindparam("b_owner"),
    "lease_until": after(_SECONDS),
    "taken_over": case((or_(S.lease_id.is_(None), S.lease_id == _LEASE), false()), else_=true()),
}
_CLAIM = (
    update(sessions)
    .where(S.session_key == _KEY, or_(FREE, MINE))
    .values(LEASE_VALUES)
    .returning(S.session_key, S.epoch, S.tenant, S.id, S.taken_over, S.store, S.suspect)
)
_CLAIM_MANY = (
    update(sessions)
    .where(among(S.session_key, "b_keys"))
    .values(LEASE_VALUES)
    .returning(S.session_key, S.epoch, S.tenant, S.id, S.taken_over, S.store, S.suspect)
)


async def claim(uow: UnitOfWork, key: str, lease_id: str, owner: str, seconds: float) -> Claimed | None:
    """Take the lease when it is free or over (PROTOCOL 2.3a); None when another has it."""
    values = {"b_key": key, "b_lease_id": lease_id, "b_owner": owner, "b_seconds": seconds}
    row = (await uow.execute(_CLAIM, values)).one_or_none()
    return None if row is None else claimed(row, lease_id)


async def claim_these(
    uow: UnitOfWork, keys: Sequence[str], lease_id: str, owner: str, seconds: float
) -> list[Claimed]:
    """Take the leases of sessions that this transaction has locked, in the order given."""
    if not keys:
        return []
    values = {"b_keys": list(keys), "b_lease_id": lease_id, "b_owner": owner, "b_seconds": seconds}
    rows = await uow.execute(_CLAIM_MANY, values)
    found = {row[0]: claimed(row, lease_id) for row in rows}
    return [found[key] for key in keys if key in found]


def claimed(row: Sequence[Any], lease_id: str) -> Claimed:
    """What a statement that takes a lease returns: key, epoch, tenant, id, taken over, store, suspect."""
    return Claimed(Lease(row[0], row[1], lease_id), row[2], row[3], bool(row[4]), row[5], row[6])


_SEIZE = update(sessions).where(S.session_key == _KEY).values(LEASE_VALUES).returning(S.epoch)


async def seize(uow: UnitOfWork, key: str, lease_id: str, owner: str, seconds: float) -> Lease:
    """Take the lease of a session that is there, from whoever has it; under the row's lock."""
    values = {"b_key": key, "b_lease_id": lease_id, "b_owner": owner, "b_seconds": seconds}
    return Lease(key, int((await uow.execute(_SEIZE, values)).scalar_one()), lease_id)


_IS_MINE = and_(S.session_key == _KEY, S.lease_id == _LEASE, S.epoch == bindparam("b_epoch"))
_FENCE = (
    update(sessions)
    .where(_IS_MINE)
    .values(
        lease_until=after(_SECONDS),
        taken_over=false(),
        store=func.coalesce(bindparam("b_store", type_=S.store.type), S.store),
        suspect=case((bindparam("b_progress", type_=S.taken_over.type), None), else_=S.suspect),
        next_position=S.next_position + bindparam("b_places", type_=S.next_position.type),
    )
    .returning(S.next_seq, S.next_position)
)
_GUARD = counted(_FENCE)
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


async def fence(
    uow: UnitOfWork,
    lease: Lease,
    seconds: float,
    *,
    store: str | None = None,
    progress: bool = False,
    places: int = 0,
) -> int:
    """Lock the session's row as its holder and renew the lease (PROTOCOL 2.4).

    The first statement of every transaction in which a worker writes. `store` names where the session's items
    live, from now on; with `progress` its head is no suspect any more; so many `places` at the end of the
    history are taken for what this transaction adds. Returns the seq of the run accepted last. Raises
    LeaseLost.
    """
    values = _fencing(lease, seconds, store=store, progress=progress, places=places)
    return _held(uow, lease, (await uow.execute(_FENCE, values)).one_or_none(), places)


async def fence_and(
    uow: UnitOfWork,
    lease: Lease,
    seconds: float,
    change: Change,
    *,
    store: str | None = None,
    progress: bool = False,
    places: int = 0,
) -> tuple[int, Sequence[Any] | None]:
    """`fence` with the first update of its transaction, and what that returns: None when it changed nothing.

    Of what is changed under the session's lock the update sees its own row as it is; all others as they were
    before the fence had the lock.
    """
    values = _fencing(lease, seconds, store=store, progress=progress, places=places)
    row, changed = await uow.paired(Change(_FENCE, values), change)
    return _held(uow, lease, row, places), changed


def _held(uow: UnitOfWork, lease: Lease, row: Sequence[Any] | None, places: int) -> int:
    if row is None:
        raise LeaseLost(lease.session_key, lease.epoch)
    if places:
        uow.places = (lease.session_key, int(row[1]) - places, places)
    return int(row[0]) - 1


async def fenced(
    uow: UnitOfWork, lease: Lease, seconds: float, *updates: Write, progress: bool = False
) -> list[int]:
    """`fence` with all that its transaction changes; how many rows each update changed. Raises LeaseLost.

    Where the database allows it, it is one statement: updates, `counted` ones, that change nothing unless
    the fence holds.
    """
    guard = Write(_GUARD, _fencing(lease, seconds, progress=progress))
    held, *changed = await uow.guarded(guard, *updates)
    if not held:
        raise LeaseLost(lease.session_key, lease.epoch)
    return changed


def _fencing(
    lease: Lease, seconds: float, *, store: str | None = None, progress: bool = False, places: int = 0
) -> dict[str, object]:
    return _mine(lease) | {
        "b_seconds": seconds,
        "b_store": store,
        "b_progress": progress,
        "b_places": places,
    }


async def release(uow: UnitOfWork, lease: Lease, *, runnable: bool, to_the_back: bool = False) -> None:
    """Give the lease back. `runnable`: the head can run; `to_the_back`: others that wait go first."""
    values = _mine(lease) | {"b_runnable": runnable, "b_to_the_back": to_the_back}
    if (await uow.execute(_RELEASE, values)).one_or_none() is None:
        raise LeaseLost(lease.session_key, lease.epoch)


async def release_fenced(uow: UnitOfWork, lease: Lease, *, runnable: bool, to_the_back: bool = False) -> None:
    """`release`, as the end of a transaction that `fence` began: nobody else can have the row meanwhile."""
    values = _mine(lease) | {"b_runnable": runnable, "b_to_the_back": to_the_back}
    await uow.later(_RELEASE, values)


def _mine(lease: Lease) -> dict[str, object]:
    return {"b_key": lease.session_key, "b_lease_id": lease.lease_id, "b_epoch": lease.epoch}


# Two lists, not pairs, which PostgreSQL plans one by one: of what it finds `renew` takes those that match.
_PICKED = (
    select(S.session_key, S.lease_id)
    .where(among(S.session_key, "b_keys"), among(S.lease_id, "b_lease_ids"))
    .order_by(S.session_key)
    .with_for_update(skip_locked=True, key_share=True)
)
_RENEW = update(sessions).where(among(S.session_key, "b_keys")).values(lease_until=after(_SECONDS))
_HELD = select(S.session_key, S.lease_id).where(among(S.session_key, "b_keys"))


async def renew(uow: UnitOfWork, leases: Sequence[Lease], seconds: float) -> set[str]:
    """Renew many leases; the keys of those renewed. Rows that others have
    locked are left out (PROTOCOL 2.10).
    """
    pairs = {(lease.session_key, lease.lease_id) for lease in leases}
    values = {"b_keys": sorted({key for key, _ in pairs}), "b_lease_ids": sorted({id for _, id in pairs})}
    keys = [row[0] for row in await uow.execute(_PICKED, values) if (row[0], row[1]) in pairs]
    if keys:
        await uow.execute(_RENEW, {"b_keys": keys, "b_seconds": seconds})
    return set(keys)


async def holders(uow: UnitOfWork, keys: Sequence[str]) -> dict[str, str | None]:
    """The lease_id that stands on each of these sessions, without a lock."""
    return {row[0]: row[1] for row in await uow.execute(_HELD, {"b_keys": list(keys)})}


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
        suspect=None,
        store=bindparam("b_store"),
        hooked=bindparam("b_hooked"),
        updated_at=now(),
    )
    .returning(S.epoch)
)


async def park(uow: UnitOfWork, lease: Lease, run_id: str, store: str, *, hooked: bool = False) -> None:
    """Give the lease back with this run parked in the session: nothing can run before a decision.

    `store`: where the session's items live; `hooked`: only a worker may add some. Raises LeaseLost.
    """
    values = _mine(lease) | {"b_run_id": run_id, "b_store": store, "b_hooked": hooked}
    if (await uow.execute(_PARK, values)).one_or_none() is None:
        raise LeaseLost(lease.session_key, lease.epoch)
