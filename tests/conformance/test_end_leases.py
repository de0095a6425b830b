"""The leases of owners that died end before their time, and no others."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update

from tests.conformance.desk import Desk, key
from tests.conformance.parking import DIGEST, Parking, ask, call
from turnkeeper_storage.model import ApprovalReason
from turnkeeper_storage.repositories import owners
from turnkeeper_storage.tables import sessions, tool_calls
from turnkeeper_storage.unit_of_work import UnitOfWork

DEAD = "web-1:lock-00112233445566ff:7"
S = sessions.c


async def end(desk: Desk, *names: str, limit: int = 100) -> int:
    return await desk.database.transact(lambda uow: owners.end_leases(uow, names or (DEAD,), limit))


async def belongs(desk: Desk, session: str, owner: str) -> None:
    await desk.sql(update(sessions).where(S.session_key == key(session)).values(lease_owner=owner))


async def leased(desk: Desk, *names: str, owner: str = DEAD) -> None:
    for session in names:
        await desk.enqueue(session)
        await desk.take(session)
        await belongs(desk, session, owner)


async def test_only_the_leases_of_these_owners_end(desk: Desk) -> None:
    await leased(desk, "a", "b")
    await leased(desk, "c", owner="another")
    assert await end(desk) == 2
    assert [job.run.session_id for job in await desk.sweep()] == ["a", "b"]


async def test_a_lease_that_was_ended_counts_as_a_crash(desk: Desk) -> None:
    await leased(desk, "s")
    await end(desk)
    (job,) = await desk.sweep()
    assert job.run.crashes == 1


async def test_ended_leases_are_ended_once(desk: Desk) -> None:
    await leased(desk, "a", "b", "c")
    assert [await end(desk, limit=2) for _ in range(3)] == [2, 1, 0]


async def test_an_owner_that_lives_after_all_keeps_what_nobody_took_yet(desk: Desk) -> None:
    await desk.enqueue("s")
    job = await desk.take("s")
    await belongs(desk, "s", DEAD)
    await end(desk)
    assert key("s") in (await desk.beat(job.lease)).renewed
    assert await desk.sweep() == []


async def test_the_owners_of_live_leases_are_those_that_hold_locks(desk: Desk) -> None:
    await leased(desk, "a", "b")
    await leased(desk, "c", owner="web-1:7")
    await leased(desk, "d", owner="web-1:lock-0011223344556600:8")
    await desk.crash("d")
    assert await desk.database.read(owners.with_leases) == {DEAD}


async def test_a_call_in_doubt_is_not_decided_before_the_lease_would_have_ended(parking: Parking) -> None:
    risky = call("call_1", idempotent=False, tool_digest=DIGEST)
    job = await parking.answered([risky])
    await parking.start(job, risky, 0.001)  # the tool's own time is over at once
    await belongs(parking, "s", DEAD)
    ends = (await parking.row())["lease_until"]
    await end(parking)
    (heir,) = await parking.sweep()
    parked = await parking.park_job(heir, [ask(risky, reason=ApprovalReason.IN_DOUBT)])
    assert parked.approvals[0].available_at == ends
    assert not parked.approvals[0].available


async def test_a_tool_that_may_take_longer_than_the_lease_keeps_its_own_time(parking: Parking) -> None:
    risky = call("call_1", idempotent=False, tool_digest=DIGEST)
    job = await parking.answered([risky])
    await parking.start(job, risky, 3600)
    await belongs(parking, "s", DEAD)
    before = await deadline(parking)
    await end(parking)
    assert await deadline(parking) == before


async def deadline(desk: Desk) -> datetime:
    async def look(uow: UnitOfWork) -> datetime:
        found: datetime = (await uow.execute(select(tool_calls.c.deadline))).scalar_one()
        return found

    return await desk.database.read(look)
