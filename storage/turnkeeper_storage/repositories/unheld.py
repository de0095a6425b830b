"""Sessions with work that nobody holds: which there are, locked before they are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BindParameter, and_, bindparam, or_, select, update

from turnkeeper_storage.repositories import leases
from turnkeeper_storage.repositories.leases import FREE, MINE, Claimed
from turnkeeper_storage.sql_types import among
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
_KEY: BindParameter[str] = bindparam("b_key")
_LEASE: BindParameter[str] = bindparam("b_lease_id")
_STALE = (
    select(S.session_key)
    .where(S.runnable_since.is_not(None), or_(FREE, MINE), S.suspect.is_(None))
    .order_by(S.runnable_since)
    .limit(bindparam("b_limit"))
    .with_for_update(skip_locked=True, key_share=True)
)
_STALE_SUSPECTS = (
    select(S.session_key, S.suspect, and_(S.lease_id.is_not(None), S.lease_id != _LEASE))
    .where(S.runnable_since.is_not(None), or_(FREE, MINE), S.suspect.is_not(None))
    .order_by(S.runnable_since)
    .limit(bindparam("b_limit"))
    .with_for_update(skip_locked=True, key_share=True)
)


async def claim_stale(
    uow: UnitOfWork, limit: int, lease_id: str, owner: str, seconds: float
) -> list[Claimed]:
    """Take up to `limit` sessions that have work and no holder, oldest first (PROTOCOL 2.11).

    Those whose head is a suspect are left out.
    """
    keys = [row[0] for row in await uow.execute(_STALE, {"b_limit": limit, "b_lease_id": lease_id})]
    return await leases.claim_these(uow, keys, lease_id, owner, seconds)


_ARE_FREE = select(S.session_key).where(among(S.session_key, "b_keys"), or_(FREE, MINE))
_LOCK_FREE = _ARE_FREE.order_by(S.session_key).with_for_update(skip_locked=True, key_share=True)


async def lock_free(uow: UnitOfWork, keys: Sequence[str], lease_id: str) -> list[str]:
    """Lock those of these sessions that nobody holds, and whose rows nobody has locked.

    `lease_id`: the one that they may be claimed with.
    """
    rows = await uow.execute(_LOCK_FREE, {"b_keys": list(keys), "b_lease_id": lease_id})
    return [row[0] for row in rows]


async def free(uow: UnitOfWork, keys: Sequence[str], lease_id: str) -> list[str]:
    """Those of these sessions that nobody holds, whoever has their rows locked."""
    if not keys:
        return []
    rows = await uow.execute(_ARE_FREE, {"b_keys": list(keys), "b_lease_id": lease_id})
    return [row[0] for row in rows]


@dataclass(frozen=True, slots=True)
class Suspected:
    """A session with work and no holder whose head crashed its workers, locked, and not taken."""

    session_key: str
    suspect: int
    taken_over: bool


async def lock_suspects(uow: UnitOfWork, limit: int, lease_id: str) -> list[Suspected]:
    """Up to `limit` of them, oldest first. `lease_id`: the one that they may be claimed with."""
    rows = await uow.execute(_STALE_SUSPECTS, {"b_limit": limit, "b_lease_id": lease_id})
    return [Suspected(row[0], row[1], bool(row[2])) for row in rows]


_SUSPECT = update(sessions).where(S.session_key == _KEY).values(suspect=bindparam("b_suspect"))


async def set_suspect(uow: UnitOfWork, key: str, company: int) -> None:
    """Note with how many of its kind a suspect is, or may be, in one process. The lease is held."""
    await uow.execute(_SUSPECT, {"b_key": key, "b_suspect": company})
