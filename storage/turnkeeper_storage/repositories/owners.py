"""Owners of leases: the advisory locks that say that they live, and the end of the leases of the dead.

PostgreSQL only, but for `end_leases`.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import BindParameter, bindparam, literal, select, text, update

from turnkeeper_storage.model import CallStatus
from turnkeeper_storage.owner_names import TAG, holds_a_lock
from turnkeeper_storage.sql_types import SECONDS, after, now
from turnkeeper_storage.tables import sessions, tool_calls
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
C = tool_calls.c

# of a key of 64 bits pg_locks shows the upper half as classid, the lower as objid, and objsubid is 1
_HELD = text(
    "SELECT (classid::bigint << 32) | objid::bigint, pid FROM pg_locks"
    " WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND mode = 'ExclusiveLock'"
    " AND classid::bigint >> 16 = :b_tag"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_TAKE = text("SELECT pg_advisory_lock(:b_key), pg_backend_pid()")
_PID = text("SELECT pg_backend_pid()")


async def take_lock(uow: UnitOfWork, key: int) -> int:
    """Take a lock for as long as this connection lives, waiting for it; the process id of its backend."""
    return int((await uow.execute(_TAKE, {"b_key": key})).one()[1])


async def backend(uow: UnitOfWork) -> int:
    """The process id of the backend that serves this statement."""
    return int((await uow.execute(_PID)).scalar_one())


async def held_locks(uow: UnitOfWork) -> dict[int, int]:
    """The keys of the locks that owners hold in this database, and the backend of each. Takes no locks."""
    return {int(row[0]): int(row[1]) for row in await uow.execute(_HELD, {"b_tag": TAG})}


# There is no index on the owner or the end of a lease, since each heartbeat writes there. What has a lease
# has work, so this reads the partial index on runnable_since: what is in work or queued, never idle sessions.
# It is asked when a lock is gone and with each sweep, not at each look.
_WITH_LEASES = (
    select(S.lease_owner)
    .distinct()
    .where(S.runnable_since.is_not(None), S.lease_until >= now(), S.lease_owner.contains(":lock-"))
)
_OF_DEAD = (
    select(S.session_key)
    .where(
        S.runnable_since.is_not(None),
        S.lease_until >= now(),
        S.lease_owner.in_(bindparam("b_owners", expanding=True)),
    )
    .order_by(S.session_key)
    .limit(bindparam("b_limit"))
    .with_for_update(skip_locked=True, key_share=True)
)
_KEYS: BindParameter[str] = bindparam("b_keys", expanding=True)
_UNTIL = select(S.lease_until).where(S.session_key == C.session_key).scalar_subquery()
# A person may decide on a call in doubt once the lease *and* the tool's time are over (PROTOCOL 2.6): an
# owner that lives after all, without its lock, may be at work until the lease would have ended.
_KEEP_IN_DOUBT = (
    update(tool_calls)
    .where(C.session_key.in_(_KEYS), C.status == CallStatus.STARTED.value, C.deadline < _UNTIL)
    .values(deadline=_UNTIL)
)
# of clocks that count milliseconds, too: a lease that ends now is not over yet
_JUST_OVER = after(literal(-0.001, type_=SECONDS))
_END = update(sessions).where(S.session_key.in_(_KEYS)).values(lease_until=_JUST_OVER)


async def with_leases(uow: UnitOfWork) -> set[str]:
    """The owners that hold a lock while they live, and in whose name live leases stand."""
    return {row[0] for row in await uow.execute(_WITH_LEASES) if holds_a_lock(row[0])}


async def end_leases(uow: UnitOfWork, owners: Collection[str], limit: int) -> int:
    """End up to `limit` live leases of these owners now; how many. Rows that others have locked are left out.

    A lease that was ended is as one that ran out: whoever sweeps next takes the session, and it counts as a
    crash. Its owner, should it live after all, can still renew it until then.
    """
    keys = [row[0] for row in await uow.execute(_OF_DEAD, {"b_owners": list(owners), "b_limit": limit})]
    if keys:
        await uow.execute(_KEEP_IN_DOUBT, {"b_keys": keys})
        await uow.execute(_END, {"b_keys": keys})
    return len(keys)
