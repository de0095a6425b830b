"""Heartbeat and release: many leases in one statement that waits for nobody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from tests.conformance.desk import Desk, key
from turnkeeper_storage.repositories import sessions
from turnkeeper_storage.tables import sessions as sessions_table
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.heartbeat import Beat


async def test_a_heartbeat_renews_every_lease(desk: Desk) -> None:
    names = ("a", "b", "c")
    leases = []
    for name in names:
        await desk.enqueue(name)
        leases.append((await desk.take(name)).lease)
    before = [(await desk.row(name))["lease_until"] for name in names]
    beat = await desk.beat(*leases, seconds=300)
    after = [(await desk.row(name))["lease_until"] for name in names]
    assert beat == Beat(frozenset(map(key, names)), frozenset(), {})
    assert all(new - old > timedelta(seconds=200) for old, new in zip(before, after, strict=True))


async def test_a_lease_that_another_took_is_reported_lost_and_left_alone(desk: Desk) -> None:
    await desk.enqueue()
    dead = await desk.take()
    await desk.crash()
    heir = await desk.take()
    until = (await desk.row())["lease_until"]
    beat = await desk.beat(dead.lease, seconds=300)
    assert beat.lost == {key("s")}
    assert not beat.renewed
    assert (await desk.row())["lease_until"] == until
    assert (await desk.beat(heir.lease)).renewed == {key("s")}


async def test_a_lease_is_not_renewed_by_the_id_of_the_one_beside_it(desk: Desk) -> None:
    await desk.enqueue("left")
    await desk.enqueue("right")
    left, right = (await desk.take("left")).lease, (await desk.take("right")).lease
    before = [(await desk.row(name))["lease_until"] for name in ("left", "right")]
    swapped = replace(left, lease_id=right.lease_id), replace(right, lease_id=left.lease_id)
    lost = frozenset({key("left"), key("right")})
    assert await desk.beat(*swapped, seconds=300) == Beat(frozenset(), lost, {})
    assert [(await desk.row(name))["lease_until"] for name in ("left", "right")] == before


async def test_a_lease_that_was_given_back_is_reported_lost(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    await desk.release(job.lease)
    assert (await desk.beat(job.lease)).lost == {key("s")}
    assert (await desk.row())["lease_until"] is None


async def test_a_heartbeat_of_nothing_is_harmless(desk: Desk) -> None:
    assert await desk.beat() == Beat(frozenset(), frozenset(), {})


async def test_a_cancel_that_was_asked_for_is_seen_by_the_heartbeat(desk: Desk) -> None:
    await desk.enqueue("told")
    await desk.enqueue("not told")
    told, other = await desk.take("told"), await desk.take("not told")
    await desk.cancel(told.run)
    beat = await desk.beat(told.lease, other.lease)
    assert beat.cancelled == {key("told"): told.run.id}


async def test_a_session_that_somebody_has_locked_holds_up_no_other(desk: Desk) -> None:
    """PostgreSQL: it is neither renewed nor lost, and its neighbour's lease is renewed at once."""
    await desk.enqueue("stuck")
    await desk.enqueue("free")
    stuck, free = await desk.take("stuck"), await desk.take("free")
    if desk.database.dialect == "sqlite":
        assert (await desk.beat(stuck.lease, free.lease)).renewed == {key("stuck"), key("free")}
        return

    async def locked(uow: UnitOfWork) -> Beat:
        await sessions.lock(uow, key("stuck"))
        return await asyncio.wait_for(desk.beat(stuck.lease, free.lease), 1)

    assert await desk.database.transact(locked) == Beat(frozenset({key("free")}), frozenset(), {})
    assert (await desk.beat(stuck.lease)).renewed == {key("stuck")}


async def test_a_reader_of_the_session_holds_up_no_heartbeat(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()

    async def reading(uow: UnitOfWork) -> Beat:
        await uow.execute(select(sessions_table))
        return await asyncio.wait_for(desk.beat(job.lease), 2)

    assert (await desk.database.read(reading)).renewed == {key("s")}


async def test_a_release_says_whether_work_is_left(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    assert await desk.release(job.lease)
    assert await desk.is_runnable()
    job = await desk.take()
    await desk.cancel(job.run)
    assert await desk.release(job.lease)


async def test_a_release_keeps_the_sessions_place_among_those_that_wait(desk: Desk) -> None:
    await desk.enqueue()
    since = (await desk.row())["runnable_since"]
    job = await desk.take()
    await desk.release(job.lease)
    assert (await desk.row())["runnable_since"] == since


async def test_a_hot_session_that_was_drained_goes_behind_the_others(desk: Desk) -> None:
    await desk.enqueue("hot")
    await desk.enqueue("hot")
    await desk.enqueue("patient")
    await desk.finish(await desk.take("hot"), go_on=False)
    assert [job.run.session_id for job in await desk.sweep(1)] == ["patient"]
