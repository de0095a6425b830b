"""Approvals that nobody decided in time, and runs whose deadline has passed: each sweep ends some
(PROTOCOL 2.11)."""

from __future__ import annotations

import logging

from turnkeeper_storage import tracing
from turnkeeper_storage.database import Database
from turnkeeper_storage.doorbell import Rings
from turnkeeper_storage.errors import DatabaseUnavailable, NotFound
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.deadline import Overdue, end_overdue, overdue
from turnkeeper_storage.verbs.decide import Decided
from turnkeeper_storage.verbs.expire import due, expire

# of one sweep: more wait for the next one, and runs do not wait for all of them
LIMIT = 100
log = logging.getLogger(__name__)


async def keep_time(database: Database, bell: Rings) -> None:
    """Expire approvals and end runs that are out of time. Raises DatabaseUnavailable."""
    try:
        await end_late(database, bell)
    finally:  # whatever is wrong with one kind
        await expire_due(database, bell)


async def end_late(database: Database, bell: Rings, limit: int = LIMIT) -> int:
    """Fail up to `limit` runs that wait and whose deadline has passed, and wake their sessions; how many.

    Each has a transaction of its own, and one that goes wrong is passed over. Raises DatabaseUnavailable.
    """
    count = 0
    for key, run_id in await database.read(lambda uow: overdue(uow, limit)):
        ended = await _end(database, key, run_id)
        if ended is None:
            continue
        if ended.wake:
            bell.ring(key)
        count += 1
        log.info("run %s %s: its deadline has passed", run_id, ended.run.status.value)
    return count


async def _end(database: Database, key: str, run_id: str) -> Overdue | None:
    async def once(uow: UnitOfWork) -> Overdue | None:
        return await end_overdue(uow, key, run_id)

    try:
        return await database.transact(once, "expire")
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - one that cannot be read or written must not hold up the others
        log.error("run %s does not end at its deadline (%s): look at it", run_id, type(error).__name__)
        return None


async def expire_due(database: Database, bell: Rings, limit: int = LIMIT) -> int:
    """Expire up to `limit` approvals whose time is over, and wake the runs that go on; how many expired.

    Each has a transaction of its own, and one that goes wrong is passed over. Raises DatabaseUnavailable.
    """
    count = 0
    for key, approval_id in await database.read(lambda uow: due(uow, limit)):
        since = tracing.now()
        decided = await _expire(database, key, approval_id)
        if decided is None:
            continue
        if decided.wake:
            bell.ring(key)
        if decided.conflict is None:
            count += 1
            tracing.decided(decided.approval, decided.run, since)
            log.info("run %s: approval %s expired", decided.run.id, approval_id)
    return count


async def _expire(database: Database, key: str, approval_id: str) -> Decided | None:
    async def once(uow: UnitOfWork) -> Decided:
        return await expire(uow, key, approval_id)

    try:
        return await database.transact(once, "expire")
    except NotFound:  # its session was deleted meanwhile
        return None
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - one that cannot be read or written must not hold up the others
        log.error("approval %s does not expire (%s): look at it", approval_id, type(error).__name__)
        return None
