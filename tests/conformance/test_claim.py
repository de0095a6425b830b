"""Claim: one winner, growing epochs, counted crashes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from tests.conformance.desk import Desk, key
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import EventType, RunStatus
from turnkeeper_storage.repositories import sessions
from turnkeeper_storage.tables import runs
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.claim import ClaimedMany


@pytest.fixture(autouse=True, params=[True, False], ids=["whole", "part"])
def is_all(request: pytest.FixtureRequest, desk: Desk) -> None:
    """As a transaction of its own, which may be one statement, and as a part of one."""
    desk.is_all = request.param


async def test_of_many_claimants_one_wins(desk: Desk) -> None:
    await desk.enqueue()
    answers = await asyncio.gather(*(desk.claim() for _ in range(20)))
    winners = [job for job in answers if job is not None]
    assert len(winners) == 1
    assert winners[0].lease.epoch == (await desk.row())["epoch"] == 1


async def test_a_claim_starts_the_head(desk: Desk) -> None:
    first = await desk.enqueue(text="first")
    await desk.enqueue(text="second")
    job = await desk.take()
    stored = await desk.run(first.run)
    assert job.run.id == first.run.id
    assert stored.status is RunStatus.RUNNING
    assert stored.started_at is not None
    assert stored == replace(job.run, started_at=stored.started_at)
    told = await desk.events(stored)
    assert [event.type for event in told] == [EventType.QUEUED, EventType.STARTED]
    assert told[1].data == {"turn": 1, "epoch": job.lease.epoch}
    assert stored.next_event == told[1].n + 1


async def test_a_claim_of_nothing_changes_nothing_but_the_epoch(desk: Desk) -> None:
    await desk.enqueue()
    await desk.finish(await desk.take())
    assert await desk.claim() is None
    row = await desk.row()
    assert row["lease_id"] is None
    assert row["runnable_since"] is None


async def test_a_claim_of_an_unknown_session_finds_nothing(desk: Desk) -> None:
    assert await desk.claim("never seen") is None
    assert await desk.count("turnkeeper_sessions") == 0


async def test_a_claim_after_the_lease_ran_out_has_a_higher_epoch_and_counts_a_crash(desk: Desk) -> None:
    await desk.enqueue()
    dead = await desk.take()
    await desk.crash()
    job = await desk.take()
    assert job.lease.epoch > dead.lease.epoch
    assert job.run.crashes == 1
    assert not job.is_poisoned
    assert [event.type for event in await desk.events(job.run)][-1] == EventType.TURN_RESTARTED


async def test_a_claim_after_a_release_counts_no_crash(desk: Desk) -> None:
    await desk.enqueue()
    for _ in range(5):
        job = await desk.take()
        assert job.run.crashes == 0
        assert await desk.release(job.lease)


async def test_a_run_that_crashes_at_the_limit_is_poisoned(desk: Desk) -> None:
    await desk.enqueue()
    seen = []
    for _ in range(4):
        job = await desk.take(crash_limit=3)
        seen.append((job.run.crashes, job.is_poisoned))
        await desk.crash()
    assert seen == [(0, False), (1, False), (2, False), (3, True)]


async def test_a_claim_asked_again_after_a_lost_answer_counts_no_crash(desk: Desk) -> None:
    await desk.enqueue()
    await desk.take()
    await desk.crash()
    lease_id = ids.new_lease_id()
    first = await desk.claim(lease_id=lease_id)
    again = await desk.claim(lease_id=lease_id)
    assert first is not None
    assert again is not None
    assert again.run.id == first.run.id
    assert again.run.crashes == first.run.crashes == 1
    assert again.lease.lease_id == lease_id
    assert (await desk.finish(again)).next is None


async def test_a_claim_on_a_live_lease_finds_nothing(desk: Desk) -> None:
    await desk.enqueue()
    held = await desk.take()
    assert await desk.claim() is None
    assert (await desk.row())["epoch"] == held.lease.epoch


async def test_the_database_refuses_a_second_active_run(desk: Desk) -> None:
    await desk.enqueue()
    second = await desk.enqueue()
    await desk.take()
    with pytest.raises(IntegrityError):
        await desk.sql(update(runs).where(runs.c.id == second.run.id).values(status="running"))


async def test_a_crash_does_not_count_against_the_next_run(desk: Desk) -> None:
    await desk.enqueue()
    await desk.enqueue()
    job = await desk.take()
    await desk.crash()
    job = await desk.take()
    assert job.run.crashes == 1
    following = (await desk.finish(job)).next
    assert following is not None
    assert following.run.crashes == 0


async def test_of_several_sessions_those_that_are_free_are_claimed_in_the_order_given(desk: Desk) -> None:
    for session in "abcd":
        await desk.enqueue(session)
    await desk.take("b")
    await desk.enqueue("e")
    await desk.finish(await desk.take("e"))
    found = await desk.claim_many("d", "b", "unknown", "e", "a")
    assert [job.run.session_id for job in found.jobs] == ["d", "a"]
    assert found.locked == []
    assert [job.lease.epoch for job in found.jobs] == [1, 1]
    assert (await desk.row("e"))["lease_id"] is None


async def test_a_suspect_among_several_sessions_is_left_to_a_sweep(desk: Desk) -> None:
    await desk.enqueue("good")
    await desk.enqueue("bad")
    for _ in range(2):
        await desk.take("bad")
        await desk.crash("bad")
    assert [job.run.session_id for job in (await desk.claim_many("bad", "good")).jobs] == ["good"]
    assert [job.run.session_id for job in await desk.sweep()] == ["bad"]


# SQLite has one writer: nobody meets a locked row
async def test_a_session_that_is_locked_is_told_and_not_waited_for(migrated_postgres: str) -> None:
    desk = Desk(Database(migrated_postgres))
    await desk.enqueue("a")
    await desk.enqueue("b")

    async def meanwhile(uow: UnitOfWork) -> ClaimedMany:
        await sessions.lock(uow, key("a"))
        return await desk.claim_many("a", "b")

    found = await desk.database.transact(meanwhile)
    assert [job.run.session_id for job in found.jobs] == ["b"]
    assert found.locked == [key("a")]
    await desk.database.aclose()
