"""Finish: items, status and the session's next run in one transaction, once."""

from __future__ import annotations

import pytest

from tests.conformance.desk import Desk
from turnkeeper_storage.errors import LeaseLost
from turnkeeper_storage.items import user_message
from turnkeeper_storage.model import EventType, RunStatus
from turnkeeper_storage.repositories import items
from turnkeeper_storage.unit_of_work import Origin, UnitOfWork
from turnkeeper_storage.verbs.adding import AddItems
from turnkeeper_storage.verbs.claim import Job


def adds(job: Job, *texts: str) -> AddItems:
    async def add(uow: UnitOfWork) -> None:
        uow.origin = Origin(job.run.id, job.lease.epoch, [0] * len(texts))
        await items.append(uow, job.lease.session_key, [user_message(text) for text in texts])

    return add


async def test_a_finish_stores_the_outcome_and_the_items(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    finished = await desk.finish(job, add=adds(job, "question", "answer"))
    stored = await desk.run(job.run)
    assert finished.next is None
    assert not finished.wake
    assert stored.status is RunStatus.COMPLETED
    assert stored.usage.requests == 1
    assert stored.finished_at is not None
    assert await desk.history() == [user_message("question"), user_message("answer")]
    assert (await desk.row())["lease_id"] is None
    assert not await desk.is_runnable()


async def test_a_finish_takes_the_next_run_under_the_same_lease(desk: Desk) -> None:
    await desk.enqueue()
    second = await desk.enqueue()
    job = await desk.take()
    following = (await desk.finish(job)).next
    assert following is not None
    assert following.lease == job.lease
    assert following.run.id == second.run.id
    assert (await desk.run(second.run)).status is RunStatus.RUNNING


async def test_a_finish_that_is_told_to_stop_gives_the_session_back_with_its_work(desk: Desk) -> None:
    await desk.enqueue()
    second = await desk.enqueue()
    finished = await desk.finish(await desk.take(), go_on=False)
    assert finished.next is None
    assert finished.wake
    assert await desk.is_runnable()
    assert (await desk.run(second.run)).status is RunStatus.QUEUED
    assert (await desk.take()).run.id == second.run.id


async def test_a_finish_asked_again_adds_once_and_goes_on_with_the_same_next_run(desk: Desk) -> None:
    await desk.enqueue()
    second = await desk.enqueue()
    job = await desk.take()
    first = await desk.finish(job, add=adds(job, "answer"))
    again = await desk.finish(job, add=adds(job, "answer"))
    assert await desk.history() == [user_message("answer")]
    assert first.next is not None
    assert again.next is not None
    assert again.next.run.id == first.next.run.id == second.run.id
    assert [event.type for event in await desk.events(second.run)] == [EventType.QUEUED, EventType.STARTED]
    ended = [event.type for event in await desk.events(job.run)]
    assert ended.count(EventType.COMPLETED) == 1


async def test_a_finish_of_an_old_epoch_writes_nothing(desk: Desk) -> None:
    await desk.enqueue()
    zombie = await desk.take()
    await desk.crash()
    await desk.take()
    before = await desk.contents()
    with pytest.raises(LeaseLost) as caught:
        await desk.finish(zombie, add=adds(zombie, "answer"))
    assert caught.value.epoch == zombie.lease.epoch
    assert await desk.contents() == before


async def test_a_finish_whose_items_cannot_be_stored_writes_nothing(desk: Desk) -> None:
    class Refused(Exception):
        pass

    async def fails(uow: UnitOfWork) -> None:
        raise Refused

    await desk.enqueue()
    job = await desk.take()
    before = await desk.contents()
    with pytest.raises(Refused):
        await desk.finish(job, add=fails)
    assert await desk.contents() == before


async def test_the_events_of_a_run_are_dense(desk: Desk) -> None:
    await desk.enqueue()
    await desk.take()
    for _ in range(2):
        await desk.crash()
        await desk.take()
    await desk.crash()
    job = await desk.take(crash_limit=9)
    await desk.finish(job)
    events = await desk.events(job.run)
    assert [event.n for event in events] == list(range(1, len(events) + 1))
    assert [event.type for event in events][-2:] == [EventType.TURN_FINISHED, EventType.COMPLETED]
    assert (await desk.run(job.run)).next_event == len(events) + 1


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.CANCELLED])
async def test_a_run_that_fails_lets_the_session_go_on(desk: Desk, status: RunStatus) -> None:
    await desk.enqueue()
    await desk.enqueue()
    job = await desk.take()
    following = (await desk.finish(job, status=status, turn=0)).next
    assert following is not None
    assert (await desk.run(job.run)).status is status


async def test_items_bear_the_run_the_turn_and_the_epoch_that_added_them(desk: Desk) -> None:
    await desk.enqueue()
    await desk.take()
    await desk.crash()
    job = await desk.take()
    await desk.finish(job, add=adds(job, "a", "b"))
    rows = (await desk.contents())["turnkeeper_session_items"]
    assert [row[1:5] for row in rows] == [(1, job.run.id, 0, 2), (2, job.run.id, 0, 2)]
