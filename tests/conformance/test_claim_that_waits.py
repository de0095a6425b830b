"""A claim that waits for its session: what it finds is what stands when it has the row (PostgreSQL).

As one statement a claim reads the runs before it waits, so each of these would be a wrong answer of that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conformance.desk import LEASE_SECONDS, TENANT, claimant, key, new_run
from tests.conformance.parking import Parking, approve
from tests.conformance.waiting import behind
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import EventType, Run, RunStatus
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.cancel import cancel
from turnkeeper_storage.verbs.claim import Job, claim
from turnkeeper_storage.verbs.decide import decide
from turnkeeper_storage.verbs.enqueue import enqueue

pytestmark = pytest.mark.postgres


@pytest.fixture
async def parking(migrated_postgres: str) -> AsyncIterator[Parking]:
    database = Database(migrated_postgres, lease_seconds=LEASE_SECONDS)
    yield Parking(database)
    await database.aclose()


async def started(parking: Parking, run: Run) -> int:
    return [event.type for event in await parking.events(run)].count(EventType.STARTED)


async def test_it_takes_a_run_that_was_accepted_while_it_waited(parking: Parking) -> None:
    await parking.enqueue()
    await parking.finish(await parking.take())
    new = new_run()

    async def accept(uow: UnitOfWork) -> None:
        await enqueue(uow, new)

    job = await behind(parking.database, key("s"), accept, parking.claim)
    assert job is not None
    assert job.run.id == new.id
    assert await started(parking, job.run) == 1


async def test_it_takes_the_next_one_when_the_head_was_cancelled_meanwhile(parking: Parking) -> None:
    head, following = (await parking.enqueue()).run, (await parking.enqueue()).run

    async def take_back(uow: UnitOfWork) -> None:
        await cancel(uow, head.session_key, head.id, TENANT)

    job = await behind(parking.database, key("s"), take_back, parking.claim)
    assert job is not None
    assert job.run.id == following.id
    assert (await parking.run(head)).status is RunStatus.CANCELLED
    assert await started(parking, head) == 0


async def test_it_gives_back_a_session_whose_only_run_was_cancelled_meanwhile(parking: Parking) -> None:
    head = (await parking.enqueue()).run

    async def take_back(uow: UnitOfWork) -> None:
        await cancel(uow, head.session_key, head.id, TENANT)

    assert await behind(parking.database, key("s"), take_back, parking.claim) is None
    row = await parking.row()
    assert (row["lease_id"], row["runnable_since"]) == (None, None)


async def test_it_leaves_a_run_to_who_was_faster(parking: Parking) -> None:
    head = (await parking.enqueue()).run
    taken: list[Job] = []

    async def take(uow: UnitOfWork) -> None:
        job = await claim(uow, key("s"), claimant())
        assert job is not None
        taken.append(job)

    assert await behind(parking.database, key("s"), take, parking.claim) is None
    assert (await parking.row())["lease_id"] == taken[0].lease.lease_id
    assert await started(parking, head) == 1


async def test_it_takes_a_run_that_was_decided_while_it_waited(parking: Parking) -> None:
    parked = await parking.parked("call_1")

    async def say_yes(uow: UnitOfWork) -> None:
        await decide(uow, key("s"), parked.approvals[0].id, TENANT, approve())

    job = await behind(parking.database, key("s"), say_yes, parking.claim)
    assert job is not None
    assert (job.run.id, job.run.status) == (parked.run.id, RunStatus.RUNNING)
    assert await started(parking, parked.run) == 1
