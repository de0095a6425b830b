"""Deadlines: set with the run on the database's clock, and kept by the sweeper for what waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import literal, update

from tests.conformance.desk import Desk, key, new_run
from tests.conformance.parking import Parking, approve, check_agreement
from turnkeeper_storage.deadlines import EXCEEDED_TEXT
from turnkeeper_storage.model import ApprovalStatus, CallStatus, EventType, Run, RunStatus
from turnkeeper_storage.repositories import deadlines
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import runs
from turnkeeper_storage.verbs.deadline import Overdue, end_overdue, overdue


async def is_late(desk: Desk, run: Run) -> None:
    """The run's deadline has passed."""
    over = update(runs).where(runs.c.id == run.id)
    await desk.sql(over.values(deadline=after(literal(-1.0, type_=SECONDS))))


async def due(desk: Desk, limit: int = 10) -> list[tuple[str, str]]:
    return await desk.database.read(lambda uow: overdue(uow, limit))


async def end(desk: Desk, run: Run) -> Overdue | None:
    return await desk.database.transact(lambda uow: end_overdue(uow, run.session_key, run.id))


async def ended(desk: Desk, run: Run) -> Overdue:
    """An end that must come about."""
    over = await end(desk, run)
    assert over is not None
    return over


async def test_a_deadline_is_counted_from_acceptance_on_the_databases_clock(desk: Desk) -> None:
    accepted = (await desk.put(replace(new_run(), deadline_seconds=60.0))).run
    stored = await desk.run(accepted)
    assert stored == accepted
    assert stored.deadline is not None
    assert stored.created_at is not None
    assert abs(stored.deadline - stored.created_at - timedelta(seconds=60)) < timedelta(seconds=1)
    left = await desk.database.read(lambda uow: deadlines.seconds_left(uow, key("s"), stored.id))
    assert left is not None
    assert 0 < left <= 60


async def test_a_run_without_a_deadline_has_none(desk: Desk) -> None:
    run = (await desk.enqueue()).run
    assert (await desk.run(run)).deadline is None
    assert await desk.database.read(lambda uow: deadlines.seconds_left(uow, key("s"), run.id)) is None
    assert await due(desk) == []
    assert await end(desk, run) is None


async def test_nothing_is_overdue_before_its_deadline(desk: Desk) -> None:
    run = (await desk.put(replace(new_run(), deadline_seconds=3600.0))).run
    assert await due(desk) == []
    before = await desk.contents()
    assert await end(desk, run) is None
    assert await desk.contents() == before


async def test_what_is_overdue_is_listed_within_a_limit(desk: Desk) -> None:
    late = [(await desk.enqueue(session)).run for session in ("a", "b")]
    for run in late:
        await is_late(desk, run)
    assert sorted(await due(desk)) == sorted((run.session_key, run.id) for run in late)
    assert len(await due(desk, limit=1)) == 1


async def test_a_queued_run_fails_and_the_session_goes_on_with_the_next(desk: Desk) -> None:
    late = (await desk.enqueue()).run
    behind = (await desk.enqueue()).run
    await is_late(desk, late)
    over = await ended(desk, late)
    assert over.wake
    stored = await desk.run(late)
    assert stored.status is RunStatus.FAILED
    assert stored.error is not None
    assert stored.error.code == "deadline_exceeded"
    assert stored.finished_at is not None
    assert not stored.cancel_requested
    last = (await desk.events(late))[-1]
    assert (last.n, last.type) == (2, EventType.FAILED)
    assert last.data["error"] == stored.error.as_json()
    assert await desk.history() == []
    assert await due(desk) == []
    assert (await desk.take()).run.id == behind.id


async def test_an_end_of_the_last_run_leaves_the_session_idle(desk: Desk) -> None:
    late = (await desk.enqueue()).run
    await is_late(desk, late)
    assert not (await ended(desk, late)).wake
    assert not await desk.is_runnable()


async def test_a_queued_run_behind_one_in_work_fails_at_once_and_disturbs_nobody(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    late = (await desk.enqueue()).run
    await is_late(desk, late)
    assert not (await ended(desk, late)).wake
    assert (await desk.finish(job)).next is None


async def test_a_run_in_work_is_left_to_its_worker(desk: Desk) -> None:
    await desk.enqueue()
    job = await desk.take()
    await is_late(desk, job.run)
    assert await due(desk) == []
    before = await desk.contents()
    assert await end(desk, job.run) is None
    assert await desk.contents() == before


async def test_a_second_end_changes_nothing(desk: Desk) -> None:
    late = (await desk.enqueue()).run
    await is_late(desk, late)
    await ended(desk, late)
    before = await desk.contents()
    assert await end(desk, late) is None
    assert await desk.contents() == before


async def test_a_parked_run_fails_with_an_output_for_each_of_its_calls(parking: Parking) -> None:
    parked = await parking.parked("call_1", "call_2")
    behind = (await parking.enqueue()).run
    await is_late(parking, parked.run)
    over = await ended(parking, parked.run)
    assert over.wake
    assert over.run.status is RunStatus.FAILED
    assert {one.status for one in await parking.approvals(parked.run)} == {ApprovalStatus.CANCELLED}
    outputs = [item["output"] for item in (await parking.history())[-2:]]
    assert outputs == [EXCEEDED_TEXT, EXCEEDED_TEXT]
    types = [event.type for event in (await parking.events(parked.run))[-3:]]
    assert types == [EventType.APPROVAL_DECIDED, EventType.APPROVAL_DECIDED, EventType.FAILED]
    late = await parking.decide(parked.approvals[0], approve())
    assert late.conflict == "cancelled"
    await check_agreement(parking, parked.run)
    assert (await parking.take()).run.id == behind.id


async def test_a_run_that_was_decided_and_then_came_too_late_runs_no_tool(parking: Parking) -> None:
    parked = await parking.parked()
    await parking.decide(parked.approvals[0], approve())
    await is_late(parking, parked.run)
    assert (await ended(parking, parked.run)).run.status is RunStatus.FAILED
    assert (await parking.history())[-1]["output"] == EXCEEDED_TEXT
    await check_agreement(parking, parked.run)


@pytest.mark.parametrize("decided_first", [False, True])
async def test_a_parked_run_of_a_store_outside_is_handed_over_once(
    parking: Parking, decided_first: bool
) -> None:
    parked = await parking.parked(store="redis")
    if decided_first:
        await parking.decide(parked.approvals[0], approve())
    await is_late(parking, parked.run)
    before = await parking.history()
    over = await ended(parking, parked.run)
    assert over.wake
    assert (over.run.status, over.run.cancel_requested) == (RunStatus.QUEUED, False)
    assert await parking.history() == before
    assert await due(parking) == []  # a worker is to end it: no sweep looks at it again
    again = await parking.contents()
    assert (await ended(parking, parked.run)).wake
    assert await parking.contents() == again
    job = await parking.take()
    closed = (await parking.calls(parked.run))["call_1"]
    if not decided_first:
        assert (closed.status, closed.output) == (CallStatus.CLOSED, EXCEEDED_TEXT)
    await parking.finish(job, status=RunStatus.FAILED)


async def test_an_end_tells_nobody_twice_when_a_cancel_came_first(parking: Parking) -> None:
    parked = await parking.parked()
    await is_late(parking, parked.run)
    await parking.cancel(parked.run)
    assert await end(parking, parked.run) is None
    assert await due(parking) == []
    await check_agreement(parking, parked.run)


async def test_of_a_deadline_a_decision_and_a_cancel_at_once_the_run_ends_once(parking: Parking) -> None:
    for n in range(10):
        parked = await parking.parked(session=f"s{n}")
        await is_late(parking, parked.run)
        await asyncio.gather(
            end(parking, parked.run),
            end(parking, parked.run),
            parking.decide(parked.approvals[0], approve()),
            parking.cancel(parked.run),
        )
        await end(parking, parked.run)  # one that was decided first is queued, and late still
        stored = await parking.run(parked.run)
        assert stored.status in (RunStatus.FAILED, RunStatus.CANCELLED)
        ends = [
            e for e in await parking.events(parked.run) if e.type in (EventType.FAILED, EventType.CANCELLED)
        ]
        assert len(ends) == 1
        assert len(await parking.history(f"s{n}")) == 3
        assert await due(parking) == []
