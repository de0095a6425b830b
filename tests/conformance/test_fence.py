"""The fence: a worker that lost its lease computes what it likes and writes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from tests.conformance.desk import CRASH_LIMIT, LEASE_SECONDS, Desk
from tests.conformance.waiting import behind
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import LeaseLost
from turnkeeper_storage.items import user_message
from turnkeeper_storage.model import EventType, Lease, Merged, Run, RunStatus, ToolCall, Turn, Usage
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import settling
from turnkeeper_storage.verbs.adding import intend
from turnkeeper_storage.verbs.checkpoint import checkpoint_turn, settle_call, start_call, store_input
from turnkeeper_storage.verbs.claim import Job
from turnkeeper_storage.verbs.finish import Ending, finish
from turnkeeper_storage.verbs.release import release, release_missing_agent

Write: TypeAlias = Callable[[UnitOfWork, Lease, Run], Awaitable[object]]

CALL = ToolCall("call_1", 1, "refund", "{}", idempotent=False)
TURN = Turn(1, "resp_1", [user_message("answer")], Usage(requests=1))
MERGED = Merged([user_message("q")], [user_message("q")])

WRITES: dict[str, Write] = {
    "checkpoint": lambda uow, lease, run: checkpoint_turn(
        uow, lease, run, TURN, [CALL], MERGED, LEASE_SECONDS
    ),
    "store_input": lambda uow, lease, run: store_input(uow, lease, run, MERGED, None, LEASE_SECONDS),
    "start_call": lambda uow, lease, run: start_call(uow, lease, run.id, CALL, 5, LEASE_SECONDS),
    "settle_call": lambda uow, lease, run: settle_call(
        uow, lease, run.id, CALL.call_id, "out", LEASE_SECONDS
    ),
    "intend": lambda uow, lease, run: intend(uow, lease, run.id, "finish", {"tail": []}, LEASE_SECONDS),
    "finish": lambda uow, lease, run: finish(
        uow,
        lease,
        run,
        Ending(RunStatus.COMPLETED, 1),
        add=None,
        go_on=True,
        seconds=LEASE_SECONDS,
        crash_limit=CRASH_LIMIT,
    ),
    "release": lambda uow, lease, run: release(uow, lease),
    "release_missing_agent": lambda uow, lease, run: release_missing_agent(uow, lease, run, 0, LEASE_SECONDS),
}


async def zombie_of(desk: Desk) -> Job:
    """A worker whose session another one has taken; the call of its first turn is stored."""
    await desk.enqueue()
    zombie = await desk.take()
    await desk.database.transact(
        lambda uow: checkpoint_turn(uow, zombie.lease, zombie.run, TURN, [CALL], MERGED, LEASE_SECONDS)
    )
    await desk.crash()
    await desk.take()
    return zombie


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
async def test_a_write_of_an_old_epoch_is_refused_whole(desk: Desk, write: Write) -> None:
    zombie = await zombie_of(desk)
    before = await desk.contents()
    with pytest.raises(LeaseLost):
        await desk.database.transact(lambda uow: write(uow, zombie.lease, zombie.run))
    assert await desk.contents() == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
async def test_a_write_after_the_lease_was_given_back_is_refused(desk: Desk, write: Write) -> None:
    await desk.enqueue()
    job = await desk.take()
    await desk.release(job.lease)
    before = await desk.contents()
    with pytest.raises(LeaseLost):
        await desk.database.transact(lambda uow: write(uow, job.lease, job.run))
    assert await desk.contents() == before


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
async def test_an_epoch_that_a_failover_lost_is_told_by_the_lease_id(desk: Desk, write: Write) -> None:
    await desk.enqueue()
    job = await desk.take()
    forged = Lease(job.lease.session_key, job.lease.epoch, "0" * 32)
    before = await desk.contents()
    with pytest.raises(LeaseLost):
        await desk.database.transact(lambda uow: write(uow, forged, job.run))
    assert await desk.contents() == before


@pytest.mark.postgres
async def test_an_end_that_waited_for_the_session_goes_by_the_run_as_it_is_then(
    shared_postgres: str,
) -> None:
    """Fence and end are one statement, whose snapshot is older than its wait for the session's row."""
    database = Database(shared_postgres, lease_seconds=LEASE_SECONDS)
    desk = Desk(database)
    await desk.enqueue("waited for")
    job = await desk.take("waited for")
    run = job.run

    async def tell(uow: UnitOfWork) -> None:
        told = [(EventType.TURN_RESTARTED, {"turn": 1})]
        await settling.report(uow, run, told, {"cancel_requested": True})

    finished = await behind(database, run.session_key, tell, lambda: desk.finish(job))
    assert finished.next is None
    ended = await desk.run(run)
    assert (ended.status, ended.cancel_requested) == (RunStatus.COMPLETED, True)
    told = await desk.events(run)
    assert [event.n for event in told] == list(range(1, ended.next_event))
    assert [event.type for event in told][-3:] == [
        EventType.TURN_RESTARTED,
        EventType.TURN_FINISHED,
        EventType.COMPLETED,
    ]
    await database.aclose()
