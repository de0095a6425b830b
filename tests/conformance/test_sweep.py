"""The sweeper: what is stale and has work, oldest first, never what another holds or looks at."""

from __future__ import annotations

import asyncio

from sqlalchemy import literal, update

from tests.conformance.desk import Desk, claimant, key
from turnkeeper_storage import ids
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.claim import Job, claim_stale


async def test_sessions_with_work_and_no_holder_are_taken(desk: Desk) -> None:
    for session in ("waits", "died", "held", "parked", "ended"):
        await desk.enqueue(session)
    await desk.take("held")
    await desk.take("died")
    await desk.crash("died")
    await desk.park(await desk.take("parked"))
    await desk.finish(await desk.take("ended"))
    assert {job.run.session_id for job in await desk.sweep()} == {"waits", "died"}
    assert await desk.sweep() == []


async def test_the_oldest_are_taken_first_and_no_more_than_asked_for(desk: Desk) -> None:
    ages = {"young": 1.0, "oldest": 9.0, "older": 5.0}
    for session, age in ages.items():
        await desk.enqueue(session)
        since = after(literal(-age, type_=SECONDS))
        await desk.sql(
            update(sessions).where(sessions.c.session_key == key(session)).values(runnable_since=since)
        )
    assert [job.run.session_id for job in await desk.sweep(2)] == ["oldest", "older"]
    assert [job.run.session_id for job in await desk.sweep(2)] == ["young"]


async def test_sweepers_at_once_take_disjoint_sessions_and_leave_none(desk: Desk) -> None:
    names = [f"s{n}" for n in range(30)]
    await asyncio.gather(*(desk.enqueue(name) for name in names))
    taken = await asyncio.gather(*(desk.sweep(8) for _ in range(5)))
    left = await desk.sweep(30)
    swept = [job.run.session_id for jobs in [*taken, left] for job in jobs]
    assert sorted(swept) == sorted(names)


async def test_a_crash_found_by_the_sweeper_counts(desk: Desk) -> None:
    await desk.enqueue()
    await desk.take()
    await desk.crash()
    (job,) = await desk.sweep()
    assert job.run.crashes == 1
    await desk.finish(job)


async def test_a_sweep_asked_again_after_a_lost_answer_takes_the_same_sessions(desk: Desk) -> None:
    """Else they would wait for a lease that nobody knows of, and count a crash after it."""
    await desk.enqueue("a")
    await desk.enqueue("b")
    lease_id = ids.new_lease_id()
    first = await desk.sweep(1, lease_id=lease_id)
    again = await desk.sweep(1, lease_id=lease_id)
    assert [job.run.id for job in again] == [job.run.id for job in first]
    assert [job.run.crashes for job in again] == [0]


async def test_a_session_marked_by_mistake_is_put_right(desk: Desk) -> None:
    await desk.enqueue()
    await desk.finish(await desk.take())
    await desk.sql(update(sessions).values(runnable_since=after(literal(0.0, type_=SECONDS))))
    assert await desk.sweep() == []
    assert not await desk.is_runnable()
    assert (await desk.row())["lease_id"] is None


async def test_two_sweeps_that_overlap_do_not_wait_for_each_other(desk: Desk) -> None:
    """On PostgreSQL the second passes over what the first has locked; on SQLite they take turns."""
    await desk.enqueue("a")
    await desk.enqueue("b")
    if desk.database.dialect == "sqlite":
        first, second = await asyncio.gather(desk.sweep(1), desk.sweep(1))
    else:
        swept: list[Job] = []

        async def first_holds_while_second_runs(uow: UnitOfWork) -> list[Job]:
            mine = await claim_stale(uow, 1, claimant())
            swept.extend(await asyncio.wait_for(desk.sweep(), 1))
            return mine

        first, second = await desk.database.transact(first_holds_while_second_runs), swept
    assert {job.run.session_id for job in [*first, *second]} == {"a", "b"}
    assert len(first) == len(second) == 1
