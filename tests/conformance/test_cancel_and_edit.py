"""Cancel in every status, and edits that keep out of a run's way."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from tests.conformance.desk import Desk, key
from turnkeeper_storage.errors import NotFound, SessionBusy
from turnkeeper_storage.items import Item, user_message
from turnkeeper_storage.model import EventType, Run, RunStatus
from turnkeeper_storage.sessions.sqlalchemy import SQLAlchemySession
from turnkeeper_storage.tables import runs


async def test_a_queued_run_ends_at_once(desk: Desk) -> None:
    run = (await desk.enqueue()).run
    cancelled = await desk.cancel(run)
    assert cancelled.run.status is RunStatus.CANCELLED
    assert cancelled.run == await desk.run(run)
    assert cancelled.run.finished_at is not None
    assert not cancelled.wake
    assert not await desk.is_runnable()
    assert await desk.claim() is None
    assert [event.type for event in await desk.events(run)] == [EventType.QUEUED, EventType.CANCELLED]


async def test_a_cancel_that_is_repeated_for_its_answer_was_lost_wakes_again(desk: Desk) -> None:
    first = (await desk.enqueue()).run
    await desk.enqueue()
    assert (await desk.cancel(first)).wake
    assert (await desk.cancel(first)).wake
    job = await desk.take()
    assert not (await desk.cancel(first)).wake
    await desk.finish(job, go_on=False)
    assert not (await desk.cancel(first)).wake


async def test_the_cancel_of_the_head_wakes_for_the_next(desk: Desk) -> None:
    first = (await desk.enqueue()).run
    second = (await desk.enqueue()).run
    assert (await desk.cancel(first)).wake
    assert await desk.is_runnable()
    assert (await desk.take()).run.id == second.id


async def test_a_working_run_is_flagged_and_goes_on(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    cancelled = await desk.cancel(job.run)
    assert cancelled.run.status is RunStatus.RUNNING
    assert cancelled.run.cancel_requested
    assert not cancelled.wake
    assert (await desk.run(job.run)).cancel_requested


async def test_a_working_run_whose_worker_died_is_woken_to_see_its_cancel(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    await desk.crash()
    assert (await desk.cancel(job.run)).wake
    assert (await desk.take()).run.cancel_requested


async def test_a_parked_run_ends_and_the_next_goes_on(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    await desk.park(job)
    second = (await desk.enqueue()).run
    cancelled = await desk.cancel(job.run)
    assert cancelled.run.status is RunStatus.CANCELLED
    assert cancelled.wake
    assert (await desk.take()).run.id == second.id


async def test_a_session_whose_parked_run_was_cancelled_takes_new_runs(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    await desk.park(job)
    assert not (await desk.cancel(job.run)).wake
    assert (await desk.enqueue()).wake
    assert await desk.is_runnable()


async def test_a_run_queued_behind_a_parked_one_can_be_cancelled_and_leaves_it_parked(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    await desk.park(job)
    behind = (await desk.enqueue()).run
    assert not (await desk.cancel(behind)).wake
    assert not await desk.is_runnable()
    assert (await desk.row())["parked_run"] == job.run.id


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED])
async def test_an_ended_run_stays_as_it_is(desk: Desk, status: RunStatus) -> None:
    await desk.enqueue()
    job = await desk.take()
    await desk.finish(job, status=status)
    before = await desk.contents()
    cancelled = await desk.cancel(job.run)
    assert cancelled.run.status is status
    assert not cancelled.wake
    assert await desk.contents() == before


async def test_a_second_cancel_changes_nothing(desk: Desk) -> None:
    run = (await desk.enqueue()).run
    await desk.cancel(run)
    before = await desk.contents()
    assert (await desk.cancel(run)).run.status is RunStatus.CANCELLED
    assert await desk.contents() == before


async def test_a_run_of_another_tenant_is_not_found(desk: Desk) -> None:
    run = (await desk.enqueue()).run
    with pytest.raises(NotFound):
        await desk.cancel(run, tenant="somebody else")
    assert (await desk.run(run)).status is RunStatus.QUEUED


async def test_a_cancelled_run_takes_no_second_ending(desk: Desk) -> None:
    """The worker's finish comes after the cancel of a run that it gave back."""
    await desk.enqueue()
    job = await desk.take()
    await desk.sql(update(runs).where(runs.c.id == job.run.id).values(status="cancelled"))
    await desk.finish(job)
    assert (await desk.run(job.run)).status is RunStatus.CANCELLED
    assert EventType.COMPLETED not in [event.type for event in await desk.events(job.run)]


def session_of(desk: Desk, session_id: str = "s") -> SQLAlchemySession:
    return SQLAlchemySession(session_id, database=desk.database)


async def refuses_edits(desk: Desk, run: Run) -> None:
    session = session_of(desk)
    before: list[Item] = await desk.history()
    for edit in (session.add_items([user_message("new")]), session.pop_item(), session.clear_session()):
        with pytest.raises(SessionBusy) as caught:
            await edit
        assert caught.value.run_id == run.id
        assert caught.value.session_id == "s"
    assert await desk.history() == before


async def test_edits_are_refused_while_a_run_works(desk: Desk) -> None:
    await session_of(desk).add_items([user_message("old")])
    await desk.enqueue()
    job = await desk.take()
    await refuses_edits(desk, job.run)
    assert len(await session_of(desk).get_items()) == 1


async def test_edits_are_refused_while_a_run_is_parked(desk: Desk) -> None:
    await session_of(desk).add_items([user_message("old")])
    await desk.enqueue()
    job = await desk.take()
    await desk.park(job)
    await refuses_edits(desk, job.run)


async def test_edits_go_through_before_and_after_a_run(desk: Desk) -> None:
    session = session_of(desk)
    await desk.enqueue()
    await session.add_items([user_message("early")])
    await desk.finish(await desk.take())
    assert await session.pop_item() == user_message("early")
    assert await session.pop_item() is None
    assert (await desk.row())["session_key"] == key("s")
